//! What the tests around real processes need: network namespaces, a proxy, and a service manager's way to open sockets.

use crate::install::debian;
use crate::step::Problem;

pub(crate) fn present() -> Result<(), Problem> {
    debian::ensure("unshare and ip", &["util-linux", "iproute2"], || {
        debian::runs("unshare", &["--version"]) && debian::runs("ip", &["-Version"])
    })?;
    debian::ensure("nginx", &["nginx-light"], || debian::runs("nginx", &["-v"]))?;
    debian::ensure("openssl", &["openssl"], || debian::runs("openssl", &["version"]))?;
    debian::ensure("systemd-socket-activate", &["systemd"], || debian::runs("systemd-socket-activate", &["--version"]))
}
