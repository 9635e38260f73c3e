"""From documents to tokens: how often each is read, the tokenizer, the shards."""
