"""Big models, same interface: pipelines of the library diffusers from a local folder, known by its digest.

`models.py` says what an operator has, `pipeline.py` holds one, `engine.py` makes operations of them. Nothing here is
imported, and nothing of torch is needed, unless the variable `MAYFLY_DIFFUSION` names a file of models.
"""
