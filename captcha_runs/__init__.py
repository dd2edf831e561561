"""What a training run needs besides its step.

cluster             one device, all GPUs, or several machines
checkpoints         what to resume from, what to keep, which one is the best
checkpoint_files    one checkpoint: complete or absent
optimizer           Muon, and the learning-rate schedule
average             the moving average of the weights, which is evaluated and exported
transfer            initialize a network from another one
interpolation       the network between two, one of which was trained on from the other
recipe              steps and augmentation for imported images
verdict             whether more labels would help
log                 the terminal, log.jsonl, TensorBoard
messages            what the trainer says at its start and at its end
metrics             calibration and intervals
trained             a trained network, to read with: a checkpoint, or an exported model
scores              accuracies of a network's predictions, and captchas to look at
attention           where a network looks for each position
formats             LiteRT, ONNX, SavedModel
report              an evaluation as one HTML page
html, charts        what all such pages share
"""
