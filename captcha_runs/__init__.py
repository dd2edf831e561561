"""What a training run needs besides its step.

checkpoints     complete or absent; the newest and the best
cluster         one device, all GPUs, or several machines
log             the terminal, log.jsonl, TensorBoard
optimizer       Muon, and the learning rate's schedule
transfer        start from the convolutions of another network
attention       where a network looks for each position
metrics         accuracy, calibration, intervals
report          an evaluation as one HTML page
"""
