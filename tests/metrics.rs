//! `docs/metrics.md` is a promise: every metric is in its table, as it is, and nothing else.

use std::collections::BTreeSet;

use gatepost::metrics::Metrics;

const PAGE: &str = include_str!("../docs/metrics.md");

/// Name, type and sorted labels.
type Promise = (String, String, Vec<String>);

/// The rows of the table whose first cell is a metric.
fn documented() -> Vec<Promise> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let [name, kind, labels, meaning, ..] = cells.as_slice() else {
                panic!("expected metric, type, labels and meaning, found {row}");
            };
            assert!(!meaning.is_empty(), "{name} has no meaning");
            let name = name.trim_end_matches('`').to_owned();
            (name, (*kind).to_owned(), labels_of(labels))
        })
        .collect()
}

fn labels_of(cell: &str) -> Vec<String> {
    let labels = cell.split(',').map(|label| label.trim().trim_matches('`'));
    sorted(labels.filter(|label| !label.is_empty()).map(str::to_owned))
}

fn sorted(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut labels: Vec<_> = labels.collect();
    labels.sort();
    labels
}

#[test]
fn the_page_and_the_program_agree() {
    let documented = documented();
    let rows = documented.len();
    let documented: BTreeSet<_> = documented.into_iter().collect();
    assert_eq!(documented.len(), rows, "a metric is on the page twice");
    let metrics = Metrics::new("0");
    let registered: BTreeSet<Promise> = metrics
        .families()
        .iter()
        .map(|family| {
            let labels = sorted(family.labels.iter().cloned());
            (family.name.clone(), family.kind.to_owned(), labels)
        })
        .collect();
    let undocumented: Vec<_> = registered.difference(&documented).collect();
    let unregistered: Vec<_> = documented.difference(&registered).collect();
    assert!(undocumented.is_empty(), "not on the page: {undocumented:?}");
    assert!(
        unregistered.is_empty(),
        "not in the program: {unregistered:?}"
    );
}
