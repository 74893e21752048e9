//! The report while a run goes on: the page and its document on loopback, for reading only.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde_json::json;
use tiny_http::{Header, Method, Request, Response};

use super::{Marks, Report, page};
use crate::{
    error::{Error, Result},
    host::Process,
};

/// How often somebody looks whether the user wants to stop.
const PATIENCE: Duration = Duration::from_millis(200);

type Answer = Response<std::io::Cursor<Vec<u8>>>;

/// A server of one run's report.
pub struct Server {
    report: Report,
    http: tiny_http::Server,
    address: SocketAddr,
}

/// Serves a run until the user interrupts.
///
/// # Errors
///
/// What [`Server::new`] says, and a connection that cannot be waited for.
pub fn serve(directory: &Path, port: u16, process: &Process) -> Result<()> {
    let mut server = Server::new(directory, port)?;
    anstream::println!("http://{}/ shows {} until Ctrl-C", server.address(), directory.display());
    while !process.is_interrupted() {
        server.answer()?;
    }
    Ok(())
}

impl Server {
    /// Reads a run and binds a port of the loopback interface; 0 takes a free one.
    ///
    /// # Errors
    ///
    /// What [`Report::read`] says, and a port that is in use.
    pub fn new(directory: &Path, port: u16) -> Result<Self> {
        let report = Report::read(directory)?;
        let unusable = |why: &dyn std::fmt::Display| {
            Error::unusable(format!("port {port} cannot be used: {why}"), "give another --port, or 0 for a free one")
        };
        let http = tiny_http::Server::http((Ipv4Addr::LOCALHOST, port)).map_err(|error| unusable(&error))?;
        let address = http.server_addr().to_ip().ok_or_else(|| unusable(&"it has no address"))?;
        Ok(Server { report, http, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits a moment for a request, and answers it.
    ///
    /// # Errors
    ///
    /// A connection that cannot be waited for.
    pub fn answer(&mut self) -> Result<()> {
        let failed = |error| Error::unusable(format!("failed to wait for requests: {error}"), "start it again");
        let Some(request) = self.http.recv_timeout(PATIENCE).map_err(failed)? else { return Ok(()) };
        let answer = self.answer_to(&request);
        if let Err(error) = request.respond(answer) {
            tracing::debug!("a reader went away: {error}");
        }
        Ok(())
    }

    fn answer_to(&mut self, request: &Request) -> Answer {
        // A name that somebody else's page has made point here is not ours.
        if !self.is_for_us(request) {
            return refused(421, "this server answers on 127.0.0.1 and localhost alone");
        }
        if !matches!(request.method(), Method::Get | Method::Head) {
            return refused(405, "this server is for reading only").with_header(header("Allow", "GET, HEAD"));
        }
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        match path {
            "/" => whole(Response::from_string(page::page(None)), "text/html; charset=utf-8"),
            "/data" => self.data(query),
            _ => refused(404, "there is nothing here: / has the report"),
        }
    }

    fn is_for_us(&self, request: &Request) -> bool {
        let port = self.address.port();
        let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let mut given = request.headers().iter().filter(|header| header.field.equiv("Host"));
        given.next().is_some_and(|host| hosts.iter().any(|known| host.value == known.as_str()))
            && given.next().is_none()
    }

    /// The document, from the evaluations and steps on that the page has; nothing where it has all.
    fn data(&mut self, query: &str) -> Answer {
        if let Err(error) = self.report.read_on() {
            return refused(503, &error.to_string());
        }
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
        };
        let is_same = number("edition") == Some(self.report.edition as usize);
        let (evaluation, step) = (number("evaluation").unwrap_or(0), number("step").unwrap_or(0));
        let from = if is_same { Marks { evaluation, step } } else { Marks::default() };
        match self.report.document(from) {
            Ok(document) => whole(Response::from_string(document.to_string()), "application/json"),
            Err(error) => refused(500, &error.to_string()),
        }
    }
}

fn refused(status: u16, why: &str) -> Answer {
    whole(Response::from_string(json!({ "error": why }).to_string()).with_status_code(status), "application/json")
}

fn whole(response: Answer, kind: &str) -> Answer {
    response
        .with_header(header("Content-Type", kind))
        .with_header(header("Cache-Control", "no-store"))
        .with_header(header("X-Content-Type-Options", "nosniff"))
        .with_header(header("X-Frame-Options", "DENY"))
        .with_header(header("Cross-Origin-Resource-Policy", "same-origin"))
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("our headers are text")
}
