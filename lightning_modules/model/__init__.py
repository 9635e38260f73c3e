"""The decoder and its exchange with the Hugging Face layout. `config` is free of torch, so that planning is instant."""
