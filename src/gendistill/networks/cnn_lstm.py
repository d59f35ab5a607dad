"""Character-aware language model (Kim et al., Character-Aware Neural Language Models, 2016): CNN-LSTM in BAN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.networks.lstm import LSTMLayers, State

# Numbers of the signs beside the characters; 0 fills up short words, and its embedding is zero.
START, STOP, FIRST = 1, 2, 3


class CNNLSTM(nn.Module):
    """Convolutions over a word's characters, tanh, maximum over positions, highway layers, LSTM layers, a linear layer.

    A filter of width w has min(most_filters, filters_per_width * w) output channels, for w = 1 .. widest_filter. The network reads
    words by their spelling only, which it keeps as the buffer `spellings`, int32, shape (V, longest word + 2).

    Args:
        vocabulary: the words in order of their numbers.
        character_size: size of a character's embedding.
        widest_filter: in characters.
        filters_per_width, most_filters: see above.
        highways: how many highway layers.
        width: units of an LSTM layer.
        layers: how many LSTM layers.
        dropout: share of units left out, of the output of each LSTM layer.
        init_range: all weights and biases start uniform between minus and plus this.
    """

    spellings: Tensor

    def __init__(
        self,
        vocabulary: list[str],
        character_size: int,
        widest_filter: int,
        filters_per_width: int,
        most_filters: int,
        highways: int,
        width: int,
        layers: int,
        dropout: float,
        init_range: float,
    ) -> None:
        super().__init__()
        spellings = spell(vocabulary, at_least=widest_filter)
        self.register_buffer("spellings", spellings)
        widths = range(1, widest_filter + 1)
        filters = [min(most_filters, filters_per_width * w) for w in widths]
        characters = FIRST + len(set("".join(vocabulary)))
        self.characters = nn.Embedding(characters, character_size, padding_idx=0)
        self.filters = nn.ModuleList(nn.Conv1d(character_size, f, w) for f, w in zip(filters, widths, strict=True))
        self.highways = nn.Sequential(*(Highway(sum(filters)) for _ in range(highways)))
        self.layers = LSTMLayers(sum(filters), width, layers, dropout)
        self.output = nn.Linear(width, len(vocabulary))
        for weight in self.parameters():
            nn.init.uniform_(weight, -init_range, init_range)
        with torch.no_grad():
            self.characters.weight[0] = 0
            for highway in self.highways:
                highway.gate.bias -= 2

    def initial_state(self, batch_size: int) -> State:
        """Zeros, at the start of a text."""
        return self.layers.initial_state(batch_size)

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits of each next word, and the state after the last one: int64 (T, B) -> float32 (T, B, V), state."""
        # Each different word once: frequent ones come many times.
        words, positions = tokens.unique(return_inverse=True)
        x = F.embedding(positions, self._read(self.spellings[words]))
        x, state = self.layers(x, state)
        return self.output(x).float(), state

    def _read(self, spellings: Tensor) -> Tensor:
        """Spellings, int32 (W, longest) -> a vector for each word, float (W, sum of the filters)."""
        x = self.characters(spellings).transpose(1, 2)
        return self.highways(torch.cat([torch.tanh(f(x)).amax(dim=2) for f in self.filters], dim=1))


class Highway(nn.Module):
    """t relu(W x + b) + (1 - t) x with the gate t = sigmoid(V x + a); a starts near -2, so that most of x passes (Kim et al.)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.transform(x)) + (1 - gate) * x


def spell(vocabulary: list[str], at_least: int) -> Tensor:
    """The characters of each word as numbers, between a sign for its start and one for its end, filled up with 0.

    Args:
        vocabulary: V words.
        at_least: how many columns there must be.

    Returns:
        int32, shape (V, max(longest word + 2, at_least)); characters are numbered from `FIRST` in the order of their code points.
    """
    number = {character: FIRST + i for i, character in enumerate(sorted(set("".join(vocabulary))))}
    columns = max(at_least, max(map(len, vocabulary)) + 2)
    rows = [[START, *(number[c] for c in word), STOP] for word in vocabulary]
    return torch.tensor([row + [0] * (columns - len(row)) for row in rows], dtype=torch.int32)
