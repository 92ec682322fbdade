"""Operations on pictures and clips as a whole."""

from __future__ import annotations

from ray_cluster.engines.rows.row import Row

ROWS = (
    Row(
        operation="stylization",
        engine="ray_cluster.engines.stylization:Stylization",
        models=("realesrgan-x4plus-anime.param", "realesrgan-x4plus-anime.bin"),
        licence="permissive",
        pool="ncnn",
        memory_mb=520,
        base_s=4.8,
        per_megapixel_s=0.1,
        params=("format",),
    ),
)
