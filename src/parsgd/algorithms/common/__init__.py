"""Parts that several algorithms share: worker loop, merge weights, outer optimizers, round schedules."""
