"""Modules, losses and loops that the tests of PyTorch modules share."""

import torch

N_ROWS = 1003
cross_entropy = torch.nn.CrossEntropyLoss()


def make_net(dropout=0.2, batch_norm=True):
    """A network with the same weights in every call."""
    norm = [torch.nn.BatchNorm1d(32)] if batch_norm else []
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.nn.Sequential(
            torch.nn.Linear(20, 32), *norm, torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(32, 2)
        )


def adamw(params):
    return torch.optim.AdamW(params, lr=0.01)


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


def batches(n_rows, batch_size, seed, epochs):
    """The row numbers of all batches, with the end of each epoch, in the order that a Trainer documents."""
    for epoch in range(epochs):
        order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed + epoch))
        for start in range(0, n_rows, batch_size):
            yield order[start : start + batch_size], start + batch_size >= n_rows


def plain_loop(net, rows, optimizer, scheduler=None, batch_size=32, seed=7, epochs=3):
    """Train ``net`` with a loop as in PyTorch's tutorials."""
    X, y = rows
    optimizer = optimizer(net.parameters())
    scheduler = None if scheduler is None else scheduler(optimizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net.train()
        for index, ends_epoch in batches(len(X), batch_size, seed, epochs):
            loss = cross_entropy(net(X[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if scheduler is not None and ends_epoch:
                scheduler.step()
    return net


def same_bits(one, other):
    """True if all parameters and buffers of two modules are equal, bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
