//! Who carries out the commands about certificates: the running proxy, or this process on the
//! folder itself. The documents are the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Runtime};

use super::Failure;
use crate::admin::{Client, ClientError, Context};
use crate::cert::{CertIndex, LiveIndex};
use crate::config::{self, Config};
use crate::server::store_options;
use crate::store::{CertStore, StoreError};
use crate::time::Clock;

/// Where the running proxy is looked for, from the arguments that say so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// `--config`
    pub(super) config: Option<&'a Path>,
    /// `--socket`
    pub(super) socket: Option<&'a Path>,
}

/// A connection to the running proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    runtime: Runtime,
    client: Client,
}

/// Who answers.
#[derive(Debug)]
pub(super) enum Backend {
    /// The running proxy.
    Proxy(Proxy),
    /// The folder, for want of one.
    Folder(Box<Context>),
}

/// What a command will do to the folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Look at it.
    Read,
    /// Change it.
    Write,
}

impl Place<'_> {
    /// The configuration, without its warnings.
    pub(super) fn load(self) -> Result<Config, Failure> {
        let path = config::find(self.config)?;
        let (config, _) = config::load(&path)?;
        Ok(config)
    }

    /// The running proxy; that there is none is an error. A configuration that is wrong must
    /// not keep anyone from it: only the socket's place is read.
    pub(super) fn proxy(self) -> Result<Proxy, Failure> {
        match self.socket {
            Some(socket) => Proxy::connect(socket),
            None => Proxy::connect(&config::admin_socket(&config::find(self.config)?)?),
        }
    }

    /// The running proxy, or the folder if none runs. A socket named by hand is meant: if
    /// nobody listens there, nothing is done behind that proxy's back.
    pub(super) fn backend(self, access: Access) -> Result<Backend, Failure> {
        match self.proxy() {
            Ok(proxy) => Ok(Backend::Proxy(proxy)),
            Err(Failure::Client(ClientError::NotRunning { .. })) if self.socket.is_none() => {
                Ok(Backend::Folder(Box::new(folder(self.load()?, access)?)))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// The folder as the admin API sees it, in this process.
pub(super) fn folder(config: Config, access: Access) -> Result<Context, StoreError> {
    let clock = Clock::System;
    let options = store_options(&config.certificates);
    let empty = CertIndex::new(Vec::new(), None, config.certificates.order);
    let live = LiveIndex::new(empty);
    let open = match access {
        Access::Read => CertStore::inspect,
        Access::Write => CertStore::open,
    };
    Ok(Context {
        store: Arc::new(open(options, live.clone(), clock.clone())?),
        live,
        clock,
        config: Arc::new(ArcSwap::from_pointee(config)),
    })
}

impl Proxy {
    fn connect(socket: &Path) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::Runtime)?;
        let client = runtime.block_on(Client::connect(socket))?;
        Ok(Self { runtime, client })
    }

    /// Asks one question.
    pub(super) fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        Ok(self.runtime.block_on(question(&mut self.client))?)
    }

    /// Returns when its process is gone, for one that has been stopped.
    pub(super) fn ended(&self, patience: Duration) -> Result<(), Failure> {
        Ok(self.client.ended(patience)?)
    }
}
