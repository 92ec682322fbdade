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
    ),
)
