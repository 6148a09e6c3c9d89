"""An independent count of a model's parameters, for every family."""


def group_params(model):
    """Count the parameters that torch holds, in the groups of `param_groups`."""
    table, head = model.table.weight, model.head.weight
    parameters = list(model.parameters())  # a tied head once
    return {
        "embedding_params": table.numel(),
        "block_params": sum(
            p.numel() for p in parameters if p.ndim == 2 and p is not table and p is not head
        ),
        "head_params": 0 if head is table else head.numel(),
        "norm_params": sum(p.numel() for p in parameters if p.ndim == 1),
    }
