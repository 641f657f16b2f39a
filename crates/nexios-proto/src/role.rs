/// The role of this end of the connection.
///
/// The only difference on the wire is masking (RFC 6455 §5.1): a client masks every frame that it sends, a server none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Receives masked frames and sends plain ones.
    Server,
    /// Receives plain frames and sends masked ones.
    Client,
}
