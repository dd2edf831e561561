"""What measuring the strength of a captcha needs besides the training: settings, cells, curves, words, the report."""
