"""Operations on faces and bodies."""

from __future__ import annotations

from ray_cluster.engines.rows.row import Row

FINDER = (
    "face_detection_short_range.tflite",
    "face_detection_full_range_sparse.tflite",
    "face_landmark.tflite",
    "pose_detection.tflite",
    "pose_landmark_full.tflite",
    "selfie_segmentation.tflite",
)

_STYLES = ("denim", "tartan", "leather", "linen", "breton", "velvet", "tweed", "polka")

ROWS = (
    Row(
        operation="ai_dance",
        engine="ray_cluster.engines.ai_dance:Dance",
        models=FINDER,
        licence="copyleft",
        pool="litert",
        memory_mb=450,
        base_s=0.5,
        per_megapixel_s=0.05,
        per_frame_s=1 / 80,
        frames=144,
        makes="video",
    ),
    Row(
        operation="detect",
        engine="ray_cluster.engines.detect:Detect",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=300,
        base_s=0.06,
        per_megapixel_s=0.03,
        makes="data",
    ),
    Row(
        operation="face_swap",
        engine="ray_cluster.engines.face_swap:FaceSwap",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=600,
        base_s=0.3,
        per_megapixel_s=0.2,
        params=("format", "faces"),
        takes=("face", "target"),
        mb_per_megapixel=180,
    ),
    Row(
        operation="expression",
        engine="ray_cluster.engines.expression:Expression",
        models=(*FINDER, "iris_landmark.tflite"),
        licence="permissive",
        pool="litert",
        memory_mb=500,
        base_s=0.1,
        per_megapixel_s=0.1,
        params=("format", "smile", "eyes", "gaze_x", "gaze_y", "faces"),
        takes=("face",),
        mb_per_megapixel=90,
        variants={
            "smile": {"smile": 1.0},
            "serious": {"smile": -1.0},
            "wide-eyed": {"smile": 0.0, "eyes": 1.0},
            "aside": {"smile": 0.0, "gaze_x": 1.0},
        },
    ),
    Row(
        operation="portrait_effect",
        engine="ray_cluster.engines.portrait_effect:PortraitEffect",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=700,
        base_s=0.15,
        per_megapixel_s=0.5,
        params=("format", "template"),
        mb_per_megapixel=200,
        variants={
            name: {"template": name} for name in ("studio", "bokeh", "noir", "golden", "film", "polaroid", "poster")
        },
    ),
    Row(
        operation="clothing_change",
        engine="ray_cluster.engines.clothing_change:ClothingChange",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=700,
        base_s=0.5,
        per_megapixel_s=0.6,
        params=("format", "colour", "pattern", "second", "part"),
        mb_per_megapixel=200,
        variants={
            "blue": {},
            "light": {"colour": "#e8e4da"},
            "stripes": {"colour": "#b02030", "pattern": "stripes"},
            "dots": {"colour": "#2f6b4f", "pattern": "dots"},
        },
    ),
    Row(
        operation="fashion",
        engine="ray_cluster.engines.clothing_change:Fashion",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=700,
        base_s=0.5,
        per_megapixel_s=0.6,
        params=("format", "style", "part"),
        takes=("media",),
        mb_per_megapixel=200,
        variants={
            name: {"style": name}
            for name in ("denim", "tartan", "leather", "linen", "breton", "velvet", "tweed", "polka")
        },
    ),
    Row(
        operation="body",
        engine="ray_cluster.engines.body:Body",
        models=FINDER,
        licence="permissive",
        pool="litert",
        memory_mb=700,
        base_s=0.3,
        per_megapixel_s=0.6,
        params=("format", "width", "height"),
        takes=("media",),
        mb_per_megapixel=200,
        variants={
            "slimmer": {"width": -1.0},
            "broader": {"width": 1.0},
            "taller": {"width": 0.0, "height": 1.0},
        },
    ),
)
