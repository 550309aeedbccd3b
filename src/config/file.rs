//! The file as it is written: tables, keys and values with their positions.
//!
//! Knows which keys there are and how to say what is wrong with one; what they mean is
//! for [`super::resolve`].

use std::cell::RefCell;
use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Diagnostic, Severity};
use crate::config::nearest::nearest;
use crate::config::sections::{SECTIONS, Section};
use crate::config::value::{Refusal, found, kind, quoted};

/// Collects what is wrong with a text.
#[derive(Debug)]
pub(super) struct Report<'t> {
    file: String,
    text: &'t str,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: String, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            text,
            lines: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
            found: RefCell::default(),
        }
    }

    /// An error at a byte of the text.
    pub(super) fn error(&self, at: usize, message: impl Display) {
        self.add(Severity::Error, Some(self.position(at)), &message);
    }

    /// A warning at a byte of the text, or about all of it.
    pub(super) fn warning(&self, at: impl Into<Option<usize>>, message: impl Display) {
        let position = at.into().map(|at| self.position(at));
        self.add(Severity::Warning, position, &message);
    }

    fn add(&self, severity: Severity, position: Option<(usize, usize)>, message: &dyn Display) {
        self.found.borrow_mut().push(Diagnostic {
            severity,
            file: self.file.clone(),
            position,
            message: message.to_string(),
        });
    }

    /// Line and column of a byte, both from 1; columns are characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line(at);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    pub(super) fn has_errors(&self) -> bool {
        let found = self.found.borrow();
        found.iter().any(|found| found.severity == Severity::Error)
    }

    /// Everything that was found, in the order of the file.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| diagnostic.position);
        found
    }
}

/// The whole file.
#[derive(Debug)]
pub(super) struct File<'a> {
    root: &'a DeTable<'a>,
    report: &'a Report<'a>,
}

impl<'a> File<'a> {
    /// Reports sections that do not exist.
    pub(super) fn new(root: &'a DeTable<'a>, report: &'a Report<'a>) -> Self {
        for key in root.keys() {
            let name = key.get_ref();
            if !SECTIONS.iter().any(|section| section.key == name) {
                report.error(key.span().start, unknown_section(name));
            }
        }
        Self { root, report }
    }

    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// The table of a section that stands once; empty if it is left out.
    pub(super) fn table(&self, section: &'static Section) -> Table<'a> {
        let value = self.root.get(section.key);
        let entries = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, entries) {
            self.misshapen(section, value, "a table");
        }
        Table::open(section, 0, entries, self.report)
    }

    /// The tables of a section that repeats.
    pub(super) fn tables(&self, section: &'static Section) -> Vec<Table<'a>> {
        let Some(value) = self.root.get(section.key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.misshapen(section, value, "a list of tables");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(entries) => {
                    let at = item.span().start;
                    tables.push(Table::open(section, at, Some(entries), self.report));
                }
                None => self.misshapen(section, item, "a table"),
            }
        }
        tables
    }

    fn misshapen(&self, section: &Section, value: &Spanned<DeValue<'_>>, expected: &str) {
        let Section { key, header, .. } = section;
        let kind = kind(value.get_ref());
        self.report.error(
            value.span().start,
            format_args!("`{key}` is {kind}, expected {expected}, written {header}"),
        );
    }
}

fn unknown_section(name: &str) -> String {
    let keys = || SECTIONS.iter().map(|section| section.key);
    let shown = name.escape_debug();
    if let Some(meant) = nearest(name, keys()) {
        let section = SECTIONS.iter().find(|section| section.key == meant);
        let header = section.map_or(meant, |section| section.header);
        format!("unknown section `{shown}`; did you mean {header}?")
    } else if let Some(header) = home(name) {
        format!("key `{shown}` stands in no section; it belongs in {header}")
    } else {
        let known: Vec<_> = crate::config::known_keys()
            .map(|(header, _)| header)
            .collect();
        let known = known.join(", ");
        format!("unknown section `{shown}`; expected one of {known}")
    }
}

/// The one section that has this key.
fn home(key: &str) -> Option<&'static str> {
    let mut sections = SECTIONS
        .iter()
        .filter(|section| section.keys.contains(&key));
    match (sections.next(), sections.next()) {
        (Some(section), None) => Some(section.header),
        _ => None,
    }
}

/// One table, whose keys are all known.
#[derive(Debug)]
pub(super) struct Table<'a> {
    section: &'static Section,
    at: usize,
    entries: Option<&'a DeTable<'a>>,
    /// What a message about it begins with: `listener "imaps": `.
    label: String,
    report: &'a Report<'a>,
}

impl<'a> Table<'a> {
    /// Reports keys that are unknown, that belong to later versions, or that are missing.
    fn open(
        section: &'static Section,
        at: usize,
        entries: Option<&'a DeTable<'a>>,
        report: &'a Report<'a>,
    ) -> Self {
        let label = entries
            .filter(|_| section.repeats)
            .and_then(title)
            .map(|title| format!("{} {title}: ", section.key))
            .unwrap_or_default();
        let table = Self {
            section,
            at,
            entries,
            label,
            report,
        };
        for key in entries.into_iter().flatten().map(|(key, _)| key) {
            table.check_key(key);
        }
        for key in section.required {
            if !table.has(key) {
                let title = table.title();
                report.error(
                    at,
                    format_args!("{title}: `{key}` is missing, and has no default"),
                );
            }
        }
        table
    }

    fn check_key(&self, key: &Spanned<impl AsRef<str>>) {
        let name = key.get_ref().as_ref();
        if self.section.keys.contains(&name) {
            return;
        }
        let at = key.span().start;
        if self.section.later.contains(&name) {
            self.error(at, format_args!("`{name}` is not in this version"));
        } else {
            self.error(at, self.unknown_key(name));
        }
    }

    fn unknown_key(&self, name: &str) -> String {
        let Section { header, keys, .. } = self.section;
        let shown = name.escape_debug();
        if let Some(meant) = nearest(name, keys.iter().copied()) {
            format!("unknown key `{shown}` in {header}; did you mean `{meant}`?")
        } else if let Some(home) = home(name) {
            format!("unknown key `{shown}` in {header}; it belongs in {home}")
        } else if keys.is_empty() {
            format!("unknown key `{shown}` in {header}")
        } else {
            let keys = keys.join(", ");
            format!("unknown key `{shown}` in {header}; expected one of {keys}")
        }
    }

    /// What it is called: `listener "imaps"`, `[metrics]`.
    pub(super) fn title(&self) -> &str {
        match self.label.strip_suffix(": ") {
            Some(title) => title,
            None => self.section.header,
        }
    }

    /// Where it begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.report.line(at)
    }

    /// Whether the key is written, rightly or wrongly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether the key is written, and is a list of nothing.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let items = self.entry(key).and_then(|value| value.get_ref().as_array());
        items.is_some_and(|items| items.is_empty())
    }

    /// Where the key's value stands, or else the table.
    pub(super) fn at_value(&self, key: &str) -> usize {
        self.entry(key).map_or(self.at, |value| value.span().start)
    }

    /// The key's value, if it is written and right.
    pub(super) fn value<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.located(key, read).map(Spanned::into_inner)
    }

    /// The key's value with its position, if it is written and right.
    pub(super) fn located<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Spanned<T>> {
        self.accept(key, "is", self.entry(key)?, read)
    }

    /// The items of a list that are right. `None` if the key is left out or no list.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.entry(key)?;
        let Some(items) = value.get_ref().as_array() else {
            let refusal = Refusal::Type(format!("a list of {expected}"));
            self.refuse(key, value.span().start, "is", value.get_ref(), &refusal);
            return None;
        };
        let items = items.iter();
        Some(
            items
                .filter_map(|item| self.accept(key, "holds", item, &read))
                .collect(),
        )
    }

    /// As [`Self::list`], for a list that must not be empty.
    pub(super) fn full_list<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<Spanned<T>>> {
        if self.is_empty_list(key) {
            let message = format_args!("`{key}` is empty, expected one or more {expected}");
            self.error(self.at_value(key), message);
        }
        self.list(key, expected, read)
    }

    fn accept<T>(
        &self,
        key: &str,
        verb: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Spanned<T>> {
        match read(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(refusal) => {
                self.refuse(key, value.span().start, verb, value.get_ref(), &refusal);
                None
            }
        }
    }

    fn refuse(&self, key: &str, at: usize, verb: &str, value: &DeValue<'_>, refusal: &Refusal) {
        let (kind, found) = (kind(value), found(value));
        let message = match refusal {
            Refusal::Type(expected) => format!("`{key}` {verb} {kind}, expected {expected}"),
            Refusal::Value(expected) => format!("`{key}` {verb} {found}, expected {expected}"),
            Refusal::Later(available) => {
                format!("`{key} = {found}` is not in this version (in this version: {available})")
            }
        };
        self.error(at, message);
    }

    /// An error about this table.
    pub(super) fn error(&self, at: usize, message: impl Display) {
        self.report
            .error(at, format_args!("{}{message}", self.label));
    }

    /// An error whose text names the table itself.
    pub(super) fn unlabelled_error(&self, at: usize, message: impl Display) {
        self.report.error(at, message);
    }

    /// A warning about this table.
    pub(super) fn warning(&self, at: usize, message: impl Display) {
        self.report
            .warning(at, format_args!("{}{message}", self.label));
    }

    fn entry(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries?.get(key)
    }
}

/// What a table that repeats is known by: its `name`, or the first of its `names`.
fn title(entries: &DeTable<'_>) -> Option<String> {
    let name = entries.get("name").map(Spanned::get_ref);
    let names = || entries.get("names")?.get_ref().get(0).map(Spanned::get_ref);
    let title = name.or_else(names)?.as_str()?;
    (!title.is_empty()).then(|| quoted(title))
}
