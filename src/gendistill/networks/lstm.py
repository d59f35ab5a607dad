"""LSTM language model (Zaremba et al., Recurrent Neural Network Regularization, 2014), with tied weights or without."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Hidden and cell state, each float, shape (layers, B, width).
State = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """Embedding, LSTM layers, and a linear layer over the words; dropout on all but the recurrent connections.

    The embedding is as wide as the LSTM, which tying needs (Press & Wolf, Using the Output Embedding, 2017).

    Args:
        vocabulary: the words; only their number matters here.
        width: units of a layer, and size of the embedding.
        layers: how many LSTM layers.
        dropout: share of units left out, of the embedding and of the output of each layer.
        tied: whether embedding and output layer share one matrix.
        init_range: all weights and biases start uniform between minus and plus this.
    """

    def __init__(self, vocabulary: list[str], width: int, layers: int, dropout: float, tied: bool, init_range: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(vocabulary), width)
        self.dropout = dropout
        self.layers = LSTMLayers(width, width, layers, dropout)
        self.weight = None if tied else nn.Parameter(torch.empty(len(vocabulary), width))
        self.bias = nn.Parameter(torch.empty(len(vocabulary)))
        for weight in self.parameters():
            nn.init.uniform_(weight, -init_range, init_range)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, at the start of a text."""
        return self.layers.initial_state(batch_size)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of each next word, and the state after the last one: int64 (T, B) -> float32 (T, B, V), state."""
        x = F.dropout(self.embedding(tokens), self.dropout, self.training)
        x, state = self.layers(x, state)
        weight = self.embedding.weight if self.weight is None else self.weight
        return F.linear(x, weight, self.bias).float(), state


class LSTMLayers(nn.Module):
    """LSTM layers, each followed by dropout."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        # Not one nn.LSTM with dropout: cuDNN would draw that from a generator of its own, which no seed sets anew.
        self.layers = nn.ModuleList(nn.LSTM(inputs if i == 0 else width, width) for i in range(layers))
        self.dropout = dropout
        self.width = width

    def initial_state(self, batch_size: int) -> State:
        """Zeros, float32, on the device of the weights."""
        weight = self.layers[0].weight_hh_l0
        shape = (len(self.layers), batch_size, self.width)
        return torch.zeros(shape, device=weight.device), torch.zeros(shape, device=weight.device)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One pass: float (T, B, inputs), state -> (T, B, width), state."""
        hidden, cell = [], []
        for i, layer in enumerate(self.layers):
            x, (h, c) = layer(x, (state[0][i : i + 1], state[1][i : i + 1]))
            hidden.append(h)
            cell.append(c)
            x = F.dropout(x, self.dropout, self.training)
        return x, (torch.cat(hidden).float(), torch.cat(cell).float())
