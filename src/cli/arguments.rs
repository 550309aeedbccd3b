//! What can be typed, and the help that explains it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::admin::api::Timestamp;
use crate::cert::KeyAlgorithm;

/// Heading of the options that every command takes.
const ANYWHERE: &str = "Options of every command";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "gatepost",
    version,
    about = "TLS reverse proxy for legacy mail servers and the web servers beside them",
    long_about = "Gatepost stands in front of mail and web servers that are old, plaintext or hard to \
        keep safe. It accepts TLS, picks the best certificate it has for the name asked for, finds \
        the upstream by that name, tells the upstream who the client is, and passes the bytes on.\n\n\
        Without a command it runs the proxy, as \"gatepost run\" does.",
    after_help = "\"gatepost demo\" shows all of it at work, with nothing to configure.",
    after_long_help = "Exit status: 0 done, 1 the operation failed, 64 wrong usage, 78 the \
        configuration is wrong.\n\nResults go to standard output, everything else to standard error.\n\n\
        \"gatepost demo\" shows all of it at work, with nothing to configure.",
    subcommand_help_heading = "Commands",
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// The configuration [default: ./proxy.toml, else /etc/gatepost/proxy.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = ANYWHERE)]
    pub(crate) config: Option<PathBuf>,

    /// The running proxy's admin socket [default: the configuration's]
    ///
    /// With it, commands speak to the proxy that listens there and need no configuration.
    #[arg(long, global = true, value_name = "PATH", help_heading = ANYWHERE)]
    pub(crate) socket: Option<PathBuf>,

    /// What to do; nothing means `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy (also with no command)
    ///
    /// Stays in the foreground. SIGHUP reads the configuration again, SIGTERM and SIGINT stop
    /// accepting, let open sessions end (at most drain_timeout), and exit. Listening sockets and
    /// notification of systemd are used if they are there.
    Run,
    /// Report every error and warning of the configuration and the certificate folder
    ///
    /// Changes nothing, and may be run beside a running proxy. Errors and warnings go to standard
    /// error, the verdict to standard output. Exit status: 0 all well or only warnings, 1 a
    /// certificate had to be set aside, or an upstream would not work, 78 the configuration is
    /// wrong.
    Check {
        /// Also talk to each upstream
        ///
        /// Speaks to every server as the proxy will, in each protocol in which clients come to
        /// it: whether it expects the PROXY header, offers STARTTLS and login, shows a
        /// certificate that is accepted, and would relay for strangers; what it found, with the
        /// lines to change, goes to standard output. Nobody logs in, and no mail is sent.
        #[arg(long)]
        probe: bool,
    },
    /// Look which services a host offers and write a configuration for them
    Init {
        /// The mail and web server to stand in front of
        #[arg(long, value_name = "HOST")]
        upstream: String,
        /// Where to write the configuration
        #[arg(short = 'o', long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// See it work: the proxy and three small upstreams on loopback, nothing to configure
    ///
    /// Starts a web server, an IMAP server and an SMTP sink on free loopback ports, makes
    /// certificates of several ranks in a temporary folder, puts the proxy in front, tries
    /// everything once and says what to try by hand. Stays until Ctrl-C and leaves nothing behind.
    Demo {
        /// End after the tries; the exit status is 1 if one of them failed
        #[arg(long)]
        once: bool,
    },
    /// Show listeners, upstreams, connections and what expires next
    Status {
        #[command(flatten)]
        format: Format,
    },
    /// Read the configuration again; a wrong one changes nothing and says why
    Reload,
    /// Stop accepting; open sessions go on until they end or drain_timeout
    Drain,
    /// Drain, and end the process
    Stop,
    /// Manage certificates
    ///
    /// Speaks to the running proxy over its admin socket; without one it works on the certificate
    /// folder itself, under the same lock and the same rules. A change is on disk, and used by the
    /// next handshake, before the command returns.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Print completions for a shell
    ///
    /// For bash: gatepost completions bash > /usr/share/bash-completion/completions/gatepost
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    ///
    /// To read it: gatepost man | man -l -
    Man,
}

/// The commands about certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List every certificate, waiting request and file set aside
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Show one certificate: fields, fingerprints, chain, standing and its next change
    Show {
        /// What `cert list` calls it
        name: String,
        #[command(flatten)]
        format: Format,
    },
    /// Say which certificate a client would get for a name, and why
    ///
    /// Gives the answer of the code that every handshake runs: the winner with its rank, why each
    /// other candidate lost, and when the answer will change by itself.
    Explain(Explain),
    /// Make a key and a self-signed certificate; prints its NAME
    New(New),
    /// Make a key and a certificate request for a CA; prints its NAME
    ///
    /// The request is NAME.csr in the certificate folder ("cert export NAME --request" prints it),
    /// its key is kept beside it. A certificate of the same NAME is served on. The CA's answer is
    /// taken by "cert import-signed".
    Request(Request),
    /// Take a certificate with its key, and its intermediates; prints its NAME
    ///
    /// The files may hold certificates and the key in any mixture and form: PEM, DER, PKCS#7,
    /// PKCS#12, and keys in PKCS#8, PKCS#1 or SEC1, encrypted or not. What a file is called does
    /// not count. The chain is put in order, and completed from what is known in the folder; a
    /// key that does not fit changes nothing. The key is stored decrypted, for the proxy alone
    /// to read (mode 0600).
    Import(Import),
    /// Take a CA's answer to a waiting request; prints its NAME
    ///
    /// The request is found by the certificate's public key, whatever the files are called, and is
    /// gone when its certificate is in place; the key stays where it is. The certificate and its
    /// intermediates may be in one file or several, in any order.
    ImportSigned {
        /// What the CA sent
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Write a certificate, chain, request or key as PEM
    ///
    /// To standard output, or to a file, which is whole at every instant and is replaced only with
    /// --force. A key goes to a file of mode 0600, or to standard output if that is asked for with
    /// "-o -".
    Export(Export),
    /// Remove a certificate and its key
    ///
    /// A request that waits under the same NAME stays. Where there is no certificate, the request
    /// is removed with its key.
    Remove {
        /// What `cert list` calls it
        name: String,
        /// Even if it is the default certificate
        #[arg(long)]
        force: bool,
        /// The request that waits under this NAME, and its key; the certificate stays
        #[arg(long, conflicts_with = "force")]
        request: bool,
    },
    /// Serve this certificate where no other matches
    SetDefault {
        /// What `cert list` calls it
        name: String,
    },
}

/// How results are printed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Print one JSON document and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cert explain`
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The name a client asks for; `-` for none
    pub(crate) host: String,
    /// As this listener would answer (its hostname, its unknown_name)
    #[arg(long, value_name = "LISTENER")]
    pub(crate) listener: Option<String>,
    /// What the client can verify
    #[arg(long, value_enum, default_value_t = Client::Modern)]
    pub(crate) client: Client,
    /// At this time instead of now, as in 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = read_time)]
    pub(crate) at: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Kinds of client.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Client {
    /// TLS 1.3 with ECDSA, RSA-PSS and Ed25519
    Modern,
    /// TLS 1.2 with ECDHE suites of both kinds
    Tls12,
    /// TLS 1.2 and 1.3 with RSA signatures only
    RsaOnly,
    /// TLS 1.2 and 1.3 with ECDSA signatures only
    EcdsaOnly,
}

impl Client {
    /// As it is typed.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Tls12 => "tls12",
            Self::RsaOnly => "rsa-only",
            Self::EcdsaOnly => "ecdsa-only",
        }
    }
}

/// `cert new`
#[derive(Args, Debug)]
pub(crate) struct New {
    /// A name to cover: host name, *.example.org or IP address; may be given often
    #[arg(long = "hostname", required = true, value_name = "HOST")]
    pub(crate) hostnames: Vec<String>,
    /// Country, two letters
    #[arg(long, value_name = "CC")]
    pub(crate) country: String,
    #[command(flatten)]
    pub(crate) fields: Fields,
    /// How long it is valid [default: 730]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: Option<u32>,
    /// Which key to make
    #[arg(
        long,
        value_name = "TYPE",
        default_value = KeyAlgorithm::default().as_str(),
        value_parser = KeyAlgorithm::ALL.map(KeyAlgorithm::as_str)
    )]
    pub(crate) key_type: String,
    /// What to call it; an existing certificate of this NAME is replaced [default: the first host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `cert request`
#[derive(Args, Debug)]
pub(crate) struct Request {
    /// A name to cover: host name, *.example.org or IP address; may be given often
    #[arg(
        long = "hostname",
        required_unless_present = "from",
        value_name = "HOST"
    )]
    pub(crate) hostnames: Vec<String>,
    /// Country, two letters
    #[arg(long, required_unless_present = "from", value_name = "CC")]
    pub(crate) country: Option<String>,
    #[command(flatten)]
    pub(crate) fields: Fields,
    /// How long it should be valid: a request has no room for it, the CA decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: Option<u32>,
    /// Which key to make [default: ecdsa-p256]
    #[arg(
        long,
        value_name = "TYPE",
        value_parser = KeyAlgorithm::ALL.map(KeyAlgorithm::as_str)
    )]
    pub(crate) key_type: Option<String>,
    /// What to call it; a request that waits under this NAME is asked for again, with its key
    /// [default: that of --from, else the first host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep the key of this certificate (a renewal)
    ///
    /// What is not given is taken from it: host names and addresses, country, organisation, unit,
    /// city, state. An empty text leaves a field out.
    #[arg(long, value_name = "NAME", conflicts_with = "key_type")]
    pub(crate) from: Option<String>,
}

/// Fields of the distinguished name that may be left out.
#[derive(Args, Debug)]
pub(crate) struct Fields {
    /// Organisation
    #[arg(long, value_name = "TEXT")]
    pub(crate) organization: Option<String>,
    /// Organisational unit
    #[arg(long, value_name = "TEXT")]
    pub(crate) unit: Option<String>,
    /// City
    #[arg(long, value_name = "TEXT")]
    pub(crate) city: Option<String>,
    /// State or province
    #[arg(long, value_name = "TEXT")]
    pub(crate) state: Option<String>,
}

/// `cert import`
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The certificate, and its intermediates in the same file or in files of their own; - is
    /// standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The private key, if it is in a file of its own
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Where the pass phrase of an encrypted key or PKCS#12 file stands: its first line; - is
    /// standard input, /dev/fd/N a descriptor [default: the terminal is asked]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// What to call it; an existing certificate of this NAME is replaced [default: the first host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `cert export`
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("part").required(true).args(["certificate", "chain", "request", "key"]))]
pub(crate) struct Export {
    /// What `cert list` calls it
    pub(crate) name: String,
    /// The certificate alone
    #[arg(long)]
    pub(crate) certificate: bool,
    /// The certificate and its intermediates
    #[arg(long)]
    pub(crate) chain: bool,
    /// The certificate request
    #[arg(long)]
    pub(crate) request: bool,
    /// The private key; -o says where it goes
    #[arg(long, requires = "output")]
    pub(crate) key: bool,
    /// Where to write it; "-" for standard output [default, but for a key]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

fn read_time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "expected a time such as 2027-01-31T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn kinds_of_client_are_called_the_same_everywhere() {
        for client in Client::value_variants() {
            let typed = client.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), client.as_str());
            assert!(client.as_str().parse::<crate::cert::ClientKind>().is_ok());
        }
    }

    #[test]
    fn config_and_socket_stand_anywhere() {
        for line in [
            "gatepost --config a --socket b cert list --json",
            "gatepost cert --config a --socket b list --json",
            "gatepost cert list --json --config a --socket b",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.config, Some("a".into()), "{line}");
            assert_eq!(arguments.socket, Some("b".into()), "{line}");
        }
    }
}
