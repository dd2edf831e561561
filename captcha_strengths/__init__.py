"""What measuring the strength of a captcha needs besides the training.

settings    the settings to compare, and the captchas of each
captchas    those captchas, on the disk and to look at
cells       the trainings to measure, and their results
humans      what people read
curve       accuracy over the number of labels
meaning     what the results mean
words       the same in words
summary     all results as plain values
report      the results as one HTML page
console     what the command prints
"""
