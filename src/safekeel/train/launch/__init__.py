"""Training past one device: the device layer, native FSDP2 under torchrun, and the plan made before hours are spent.

    device.py     which device, number format and process-group backend this machine calls for
    offload.py    what the backward pass needs, computed again or kept in host memory
    loss.py       the model and its loss as one module
    sharded.py    the SFT stage under torchrun: `run`
    fsdp2.py      a model spread with `fully_shard`, and gathered into safetensors
    sharded_lora.py  adapters on a sharded model
    worker.py     one process of the run
    resume.py     checkpoints of the sharded run
    torchrun.py   starts the processes, and turns the failure of one into one clear error
    deepspeed.py  a ZeRO-3 configuration for the stock Trainer (untested)
    shape.py      what a model's config.json says about its size
    memory.py     peak memory by part, and what a device has
    layout.py     whether a parallel layout is possible
    work.py       what one device does at a time, from a stage's configuration
    counting.py   tokens of a corpus, by the stages' own rules
    plan.py       `--dry-run`: tokens, steps, memory, hours and cost (plan_text.py: as a page)
    recipe.py     recipes for real models

Only `torch.accelerator` is asked for devices; no device type or communication library is named. Tested on CPU; untested
on any NPU, where a fake device checks the choices and nothing else.
"""
