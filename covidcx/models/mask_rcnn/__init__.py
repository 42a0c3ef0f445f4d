"""Mask R-CNN (He et al. 2017), the strongest published comparison of COMiT-Net's segmentation (section 4.1).

Why one of our own: no maintained Keras 3 library has it. keras-cv 0.9.0, its last release, holds RetinaNet, YOLOv8 and
YOLOX only; a port was merged to its main branch later (keras-cv pull request 2483), but its maintainers "are not
planning any further development or releases in KerasCV" (comment on keras-cv issue 2354), and reviewers of issue 623
asked for end-to-end training and reproduced results that did not come. keras-hub decided against it (issue 2449, July
2026: "The model is too old and after discussion with team we decided not to have it"). matterport/Mask_RCNN and
fizyr/keras-maskrcnn need TensorFlow 1 or keras-retinanet.

Read in this order: `anchors`, `boxes`, `fpn`, `proposals` (first stage), `roi_align`, `heads` (second stage),
`targets`, `losses`, `model`. Everything is `keras.ops` in static shapes: lists of boxes are padded, choices are made by
top-k and masks, suppression is a loop of fixed length.
"""

from covidcx.models.mask_rcnn.model import MaskRCNN, mask_rcnn

__all__ = ["MaskRCNN", "mask_rcnn"]
