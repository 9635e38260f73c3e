"""Personal data by kind: one kind of finder a module, `masking` for all of them, `examples` for what is nobody's."""
