//! A directed graph and its cycles.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Default)]
pub(super) struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    pub(super) fn add(&mut self, from: &str, to: &str) {
        self.0.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// A shortest cycle for each node that is in none of the cycles before it. The first node is repeated at the end.
    pub(super) fn cycles(&self) -> Vec<Vec<String>> {
        let mut covered = BTreeSet::new();
        let mut cycles = Vec::new();
        for node in self.0.keys() {
            if covered.contains(node.as_str()) {
                continue;
            }
            if let Some(cycle) = self.cycle_through(node) {
                covered.extend(cycle.iter().copied());
                cycles.push(cycle.into_iter().map(str::to_owned).collect());
            }
        }
        cycles
    }

    /// Breadth first, so the cycle is a shortest one.
    fn cycle_through<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.0.get(node).into_iter().flatten() {
                if next == start {
                    let path = std::iter::successors(Some(node), |node| came_from.get(node).copied());
                    let mut cycle: Vec<&str> = std::iter::once(start).chain(path).collect();
                    cycle.reverse();
                    return Some(cycle);
                }
                if !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[(&str, &str)], expected: &[&str]) {
        let mut graph = Graph::default();
        for (from, to) in edges {
            graph.add(from, to);
        }
        let cycles: Vec<String> = graph.cycles().iter().map(|cycle| cycle.join(" ")).collect();
        assert_eq!(cycles, expected, "{edges:?}");
    }

    #[test]
    fn shortest_cycles_are_found() {
        check(&[("a", "b"), ("b", "c"), ("a", "c")], &[]);
        check(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "a")], &["a b a", "c a b c"]);
        check(&[("a", "b"), ("c", "d"), ("d", "e"), ("e", "c")], &["c d e c"]);
    }
}
