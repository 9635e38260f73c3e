from lightning_modules.start import spare_metrics

spare_metrics()
