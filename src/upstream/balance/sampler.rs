//! Drawing by weight, in the same time whatever there is to draw from.

/// Vose's alias method: each column holds a share of one entry, and the rest of it belongs to another.
#[derive(Debug)]
pub(super) struct Sampler {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    /// How much of the column is its own, from 0 to 1.
    own: f64,
    other: usize,
}

impl Sampler {
    /// For entries of these weights, each above 0.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<_> = weights.map(f64::from).collect();
        let count = u32::try_from(weights.len()).unwrap_or(u32::MAX);
        let mean = weights.iter().sum::<f64>() / f64::from(count);
        let column = |(other, weight)| Column {
            own: weight / mean,
            other,
        };
        let mut columns: Vec<_> = weights.into_iter().enumerate().map(column).collect();
        let (mut small, mut large): (Vec<_>, Vec<_>) =
            (0..columns.len()).partition(|&at| columns[at].own < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            columns[poor].other = rich;
            columns[rich].own -= 1.0 - columns[poor].own;
            if columns[rich].own < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Self { columns }
    }

    /// One of them.
    pub(super) fn one(&self, random: &mut fastrand::Rng) -> usize {
        let at = random.usize(..self.columns.len());
        let column = self.columns[at];
        if column.own >= 1.0 || random.f64() < column.own {
            at
        } else {
            column.other
        }
    }

    /// Two of them, which are different ones if there are two. A heavy one is drawn again and again: then its neighbour will do.
    pub(super) fn two(&self, random: &mut fastrand::Rng) -> (usize, usize) {
        let one = self.one(random);
        let mut other = self.one(random);
        if other == one {
            other = self.one(random);
        }
        if other == one && self.columns.len() > 1 {
            other = (one + 1) % self.columns.len();
        }
        (one, other)
    }
}
