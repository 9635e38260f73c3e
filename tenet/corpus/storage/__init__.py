"""Documents between the pipeline and the corpus: their texts on disk, of each a few hundred bytes in memory."""
