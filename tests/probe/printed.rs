//! The report of `check --probe`, read back.

use crate::common::process::Outcome;

/// One server of the report.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) headline: String,
    pub(crate) findings: Vec<Finding>,
}

/// One line of a server, and what is printed below it.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    pub(crate) text: String,
    pub(crate) remedies: Vec<Vec<Change>>,
}

/// Lines for a place.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) place: String,
    pub(crate) lines: Vec<String>,
}

/// Reads standard output; its last line is the verdict.
pub(crate) fn read(outcome: &Outcome) -> Vec<Printed> {
    let mut servers: Vec<Printed> = Vec::new();
    for line in outcome.stdout.lines() {
        let text = line.trim_start_matches(' ');
        match line.len() - text.len() {
            0 if line.starts_with("upstream ") => servers.push(Printed {
                headline: line.to_owned(),
                findings: Vec::new(),
            }),
            0 => {}
            2 => servers.last_mut().unwrap().findings.push(Finding {
                text: text.to_owned(),
                remedies: Vec::new(),
            }),
            depth => {
                let finding = servers.last_mut().unwrap().findings.last_mut().unwrap();
                finding.read_remedy(depth, line, text);
            }
        }
    }
    servers
}

impl Finding {
    fn read_remedy(&mut self, depth: usize, line: &str, text: &str) {
        if depth > 4 {
            let change = self.remedies.last_mut().unwrap().last_mut().unwrap();
            change.lines.push(line[8..].to_owned());
            return;
        }
        let (word, place) = text.strip_suffix(':').unwrap().split_once("in ").unwrap();
        let change = Change {
            place: place.to_owned(),
            lines: Vec::new(),
        };
        match word {
            "and " => self.remedies.last_mut().unwrap().push(change),
            _ => self.remedies.push(vec![change]),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.text.starts_with("error: ")
    }

    pub(crate) fn is_warning(&self) -> bool {
        self.text.starts_with("warning: ")
    }
}
