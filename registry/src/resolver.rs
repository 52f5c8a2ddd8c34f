//! Host names to addresses, without the C library: a static binary has no `getaddrinfo`.
//!
//! `localhost` is answered from RFC 6761, the rest from `/etc/hosts` and then from the name servers of `/etc/resolv.conf`, which are read when the first
//! name is looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::vec;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::{Resolver, TokioResolver};
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::config::is_loopback;
use crate::connect_error::ConnectError;

/// Looks names up; clones share what they learnt.
#[derive(Clone)]
pub(crate) struct Names {
    known: Arc<BTreeMap<String, Vec<SocketAddr>>>,
    system: Arc<OnceLock<TokioResolver>>,
}

impl Names {
    /// Answers from `known` before anything else.
    pub(crate) fn new(known: BTreeMap<String, Vec<SocketAddr>>) -> Self {
        Self { known: Arc::new(known), system: Arc::default() }
    }

    /// Returns the addresses of `name`, never none; those with port 0 stand for any port.
    async fn lookup(&self, name: &str) -> Result<Vec<SocketAddr>, ConnectError> {
        match self.known.get(name) {
            Some(addresses) if addresses.is_empty() => return Err(ConnectError::NoSuchHost { name: name.to_owned() }),
            Some(addresses) => return Ok(addresses.clone()),
            None => {}
        }
        let any_port = |address: IpAddr| SocketAddr::new(address, 0);
        if is_loopback(name) {
            return Ok(vec![any_port(Ipv4Addr::LOCALHOST.into()), any_port(Ipv6Addr::LOCALHOST.into())]);
        }
        match self.system(name)?.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().map(any_port).collect()),
            Err(err) if is_unknown_name(&err) => Err(ConnectError::NoSuchHost { name: name.to_owned() }),
            Err(err) => Err(failed(name, err)),
        }
    }

    fn system(&self, name: &str) -> Result<&TokioResolver, ConnectError> {
        if let Some(resolver) = self.system.get() {
            return Ok(resolver);
        }
        let resolver = read_resolver().map_err(|err| failed(name, err))?;
        Ok(self.system.get_or_init(|| resolver))
    }
}

fn read_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        // resolv.conf(5): where the file is missing or names no server, the name server of this machine is asked.
        let servers = vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

fn is_unknown_name(error: &NetError) -> bool {
    let refused = |code: &ResponseCode| *code == ResponseCode::NXDomain;
    error.is_nx_domain()
        || error.is_no_records_found()
        || matches!(error, NetError::Dns(DnsError::ResponseCode(code)) if refused(code))
}

fn failed(name: &str, error: NetError) -> ConnectError {
    ConnectError::Lookup { name: name.to_owned(), source: Arc::new(error) }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move { names.lookup(name.as_str()).await.map(Vec::into_iter) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use hickory_resolver::config::ConnectionConfig;
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use std::time::Duration;
    use tokio::net::UdpSocket;

    /// A name server that knows `there.example`, answers nothing about `silent.example`, is in trouble about `broken.example`, and denies the rest.
    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut answer = Message::response(query.id, query.op_code);
            answer.add_query(question.clone());
            match (question.name().to_utf8().as_str(), question.query_type()) {
                ("silent.example.", _) => continue,
                ("broken.example.", _) => answer.metadata.response_code = ResponseCode::ServFail,
                ("there.example.", RecordType::A) => {
                    let address = RData::A(A(Ipv4Addr::new(10, 0, 0, 7)));
                    answer.add_answer(Record::from_rdata(question.name().clone(), 60, address));
                }
                ("there.example.", _) => {}
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }

    fn resolver(port: u16) -> TokioResolver {
        let mut udp = ConnectionConfig::udp();
        udp.port = port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        (options.attempts, options.timeout) = (0, Duration::from_millis(100));
        builder.build().unwrap()
    }

    #[track_caller]
    fn check(name: &str, expected: Expect) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let system = resolver(socket.local_addr().unwrap().port());
            let server = tokio::spawn(serve(socket));
            let known = [("known.example", vec!["10.0.0.1:81".parse().unwrap()]), ("gone.example", Vec::new())];
            let known = known.map(|(name, addresses)| (name.to_owned(), addresses)).into();
            let names = Names { known: Arc::new(known), system: Arc::new(OnceLock::from(system)) };
            let found = names.lookup(name).await;
            server.abort();
            found
        });
        expected.assert_eq(&found.map_or_else(|err| err.to_string(), |addresses| format!("{addresses:?}")));
    }

    #[test]
    fn names_of_this_machine_and_known_ones_need_no_name_server() {
        check("localhost", expect!["[127.0.0.1:0, [::1]:0]"]);
        check("registry.localhost", expect!["[127.0.0.1:0, [::1]:0]"]);
        check("known.example", expect!["[10.0.0.1:81]"]);
        check("gone.example", expect!["no such host: `gone.example`"]);
    }

    #[test]
    fn other_names_are_asked_for() {
        check("there.example", expect!["[10.0.0.7:0]"]);
        check("nowhere.example", expect!["no such host: `nowhere.example`"]);
    }

    #[test]
    fn a_name_server_that_does_not_know_is_not_taken_for_a_name_that_does_not_exist() {
        check("broken.example", expect!["cannot look up `broken.example`: no answer from DNS"]);
        check("silent.example", expect!["cannot look up `silent.example`: no answer from DNS"]);
    }
}
