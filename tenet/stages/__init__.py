"""One file a stage; `tenet/pipeline/table.py` lists them."""
