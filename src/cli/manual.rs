//! The manual page, made of the same help that `--help` prints.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The page, with a section for each command.
pub(super) fn page(mut command: Command) -> io::Result<String> {
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).manual("Gatepost");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    commands(&mut roff, &command, "gatepost");
    roff.control("SH", ["FILES"]);
    for (file, purpose) in [
        (
            "./proxy.toml, /etc/gatepost/proxy.toml",
            "the configuration",
        ),
        ("sslcert/", "the certificates, beside the configuration"),
        (
            "gatepost.sock",
            "the admin socket, beside the configuration",
        ),
    ] {
        roff.control("TP", []);
        roff.text([bold(file)]);
        roff.text([roman(purpose)]);
    }
    roff.to_writer(&mut page)?;
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Every command without commands of its own, by its full name.
fn commands(roff: &mut Roff, parent: &Command, path: &str) {
    for command in parent.get_subcommands() {
        if command.get_name() == "help" || command.is_hide_set() {
            continue;
        }
        let path = format!("{path} {}", command.get_name());
        roff.control("SS", [path.as_str()]);
        if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
            for paragraph in about.to_string().split("\n\n") {
                roff.control("PP", []);
                roff.text([roman(paragraph)]);
            }
        }
        let own = |argument: &&clap::Arg| !argument.is_global_set();
        for argument in command.get_arguments().filter(own) {
            if matches!(argument.get_id().as_str(), "help" | "version") {
                continue;
            }
            roff.control("TP", []);
            roff.text([bold(argument.to_string())]);
            roff.text([roman(help(argument))]);
        }
        commands(roff, command, &path);
    }
}

fn help(argument: &clap::Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut text = help.map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = argument
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    if argument.get_action().takes_values() && !values.is_empty() {
        text.push_str(": ");
        text.push_str(&values.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::arguments::Arguments;

    #[test]
    fn every_command_is_in_the_manual() {
        let page = page(Arguments::command()).unwrap();
        for expected in [
            ".SH NAME",
            ".SS \"gatepost check\"",
            ".SS \"gatepost cert set-default\"",
            "ecdsa\\-p256",
            "Exit status: 0 done",
        ] {
            assert!(page.contains(expected), "no {expected} in\n{page}");
        }
    }
}
