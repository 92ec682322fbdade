"""Operations on pictures and clips as a whole."""

from __future__ import annotations

from ray_cluster.engines.rows.row import Row

_ANIME = (
    "realesrgan-x4plus-anime.param",
    "realesrgan-x4plus-anime.bin",
    "realesr-animevideov3-x4.param",
    "realesr-animevideov3-x4.bin",
)

_SUBJECT = ("u2netp.onnx", "selfie_segmentation.tflite")
_BACKGROUNDS = ("none", "colour", "blur", "mask")

ROWS = (
    Row(
        operation="stylization",
        engine="ray_cluster.engines.stylization:Stylization",
        models=_ANIME,
        licence="copyleft",
        pool="ncnn",
        memory_mb=760,
        base_s=4.8,
        per_megapixel_s=0.1,
        params=("look", "format", "longer_side"),
        takes=("media",),
        variants={look: {"look": look} for look in ("anime", "cartoon", "pencil", "oil", "watercolour", "neon")},
        smaller={"longer_side": 768},
    ),
    Row(
        operation="anime",
        engine="ray_cluster.engines.stylization:Anime",
        models=_ANIME,
        licence="copyleft",
        pool="ncnn",
        memory_mb=760,
        base_s=4.8,
        per_megapixel_s=0.1,
        params=("format", "longer_side"),
        takes=("media",),
        smaller={"longer_side": 768},
    ),
    *(
        Row(
            operation=operation,
            engine="ray_cluster.engines.cutout:Cutout",
            models=_SUBJECT,
            licence="copyleft",
            pool="litert",
            memory_mb=420,
            mb_per_megapixel=170,
            base_s=0.5,
            per_megapixel_s=0.3,
            params=("background", "colour", "blur", "format", "longer_side"),
            takes=("media",),
            variants={name: {"background": name} for name in _BACKGROUNDS},
            smaller={"longer_side": 1280},
        )
        for operation in ("cutout", "background_removal")
    ),
    Row(
        operation="quality_enhance",
        engine="ray_cluster.engines.enhance:Enhance",
        models=(
            "waifu2x-photo-noise0-x2.param",
            "waifu2x-photo-noise0-x2.bin",
            "waifu2x-photo-noise2-x2.param",
            "waifu2x-photo-noise2-x2.bin",
            "realesr-animevideov3-x4.param",
            "realesr-animevideov3-x4.bin",
            "selfie_segmentation.tflite",
        ),
        licence="copyleft",
        pool="ncnn",
        memory_mb=620,
        mb_per_megapixel=60,
        base_s=0.2,
        per_megapixel_s=7.0,
        params=("scale", "denoise", "format", "longer_side"),
        takes=("media",),
        smaller={"scale": 1, "longer_side": 1024},
    ),
)
