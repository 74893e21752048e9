//! Cells of NAS-Bench-201: four nodes, an edge from each to every later one, an operation on each
//! edge.

use std::{collections::BTreeMap, sync::OnceLock};

/// The operations, in the order of the published code.
pub(super) const OPERATIONS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];

const NONE: u16 = 0;
const SKIP: u16 = 1;

/// The node that each edge comes from and the node that it goes to, in the order of a genome and
/// of the published names.
pub(super) const EDGES: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

/// How many cells there are.
pub(super) const CELLS: usize = OPERATIONS.len().pow(EDGES.len() as u32);

/// A cell's number: its operations as digits, that of the first edge the highest.
pub(super) fn number_of(operations: &[u16]) -> usize {
    operations.iter().fold(0, |number, operation| number * OPERATIONS.len() + usize::from(*operation))
}

/// The operations of the cell with a number.
pub(super) fn operations_of(mut number: usize) -> [u16; 6] {
    let mut operations = [0; 6];
    for operation in operations.iter_mut().rev() {
        *operation = (number % OPERATIONS.len()) as u16;
        number /= OPERATIONS.len();
    }
    operations
}

/// Reads a published name, such as `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.
pub(super) fn parse(name: &str) -> Option<[u16; 6]> {
    let mut operations = [0; 6];
    let nodes: Vec<&str> = name.split('+').collect();
    let edges = nodes.iter().enumerate().flat_map(|(node, edges)| {
        let inner = edges.strip_prefix('|').and_then(|edges| edges.strip_suffix('|')).unwrap_or("");
        inner.split('|').map(move |edge| (node + 1, edge))
    });
    let mut count = 0;
    for (to, edge) in edges {
        let (operation, from) = edge.split_once('~')?;
        if *EDGES.get(count)? != (from.parse().ok()?, to) {
            return None;
        }
        operations[count] = OPERATIONS.iter().position(|known| *known == operation)? as u16;
        count += 1;
    }
    (count == EDGES.len()).then_some(operations)
}

/// The number of the first cell that is the same network as the cell with a number.
pub(super) fn first_equal(number: usize) -> usize {
    static FIRST_EQUAL: OnceLock<Vec<u16>> = OnceLock::new();
    usize::from(FIRST_EQUAL.get_or_init(all_first_equal)[number])
}

/// Cells are the same network if the published code writes their last node alike, which leaves
/// 6,466 distinct ones: `skip_connect` passes a node through, `none` and operations on a node that
/// is nothing but it give zero. A few networks that are equal stay apart (zeros that were added
/// up, sums of sums): no two that differ are taken for one.
fn all_first_equal() -> Vec<u16> {
    let mut first_of: BTreeMap<String, u16> = BTreeMap::new();
    (0..CELLS).map(|number| *first_of.entry(output(&operations_of(number))).or_insert(number as u16)).collect()
}

/// The last node of a cell as the published code writes it.
fn output(operations: &[u16; 6]) -> String {
    let mut nodes = vec!["0".to_owned()];
    for node in 1..4 {
        let edges = EDGES.iter().zip(operations).filter(|((_, to), _)| *to == node);
        let term = |((from, _), operation): (&(usize, usize), &u16)| match (*operation, nodes[*from].as_str()) {
            (NONE, _) | (_, "#") => "#".to_owned(),
            (SKIP, source) => source.to_owned(),
            (other, source) => format!("({source})@{}", OPERATIONS[usize::from(other)]),
        };
        let mut terms: Vec<String> = edges.map(term).collect();
        terms.sort_unstable();
        nodes.push(terms.join("+"));
    }
    nodes.swap_remove(3)
}
