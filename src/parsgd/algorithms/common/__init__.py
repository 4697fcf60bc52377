"""Parts that several algorithms share: worker loop, merge weights, outer optimizers, schedules of rounds."""
