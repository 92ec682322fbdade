"""The registry's rows, one file per family: `looks` (pictures as a whole), `people` (faces and bodies), `trial`."""
