"""Training past one device: the device layer, native FSDP2 under torchrun, and the plan made before hours are spent.

    device.py     which device, number format and process-group backend this machine calls for
    offload.py    what the backward pass needs, computed again or kept in host memory
    loss.py       the model with its loss, a piece of the sequence at a time
    schedule.py   which samples each step trains on and which process gets which; the same for any number of processes
    fsdp2.py      the SFT stage with `fully_shard`: `python -m safekeel.train.launch.fsdp2`
    resume.py     checkpoints of the sharded run
    torchrun.py   starts the processes, and turns the failure of one into one clear error
    deepspeed.py  a ZeRO-3 configuration for the stock Trainer (untested)
    shape.py      what a model's config.json says about its size
    memory.py     peak memory by part, and what a device has
    layout.py     whether a parallel layout is possible
    plan.py       `--dry-run`: tokens, steps, memory, hours and cost
    recipe.py     recipes for real models

Only `torch.accelerator` is asked for devices; no device type or communication library is named. Tested on CPU; untested
on any NPU, where a fake device checks the choices and nothing else.
"""
