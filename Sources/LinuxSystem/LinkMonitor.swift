import CLinuxShims
import Glibc

/// News of an interface.
public enum LinkEvent: Hashable, Sendable {
  /// It appeared, or something about it changed: name, state, attached XDP program. How it is now.
  case changed(NetworkInterface)
  /// It is gone. How it was.
  case removed(NetworkInterface)
  /// The kernel had more news than the socket could hold: list the interfaces again.
  case overrun
}

extension NetworkInterface {
  /// Blocks until the interface is up and has a carrier, which a driver may drop for seconds while it resets its queues
  /// for XDP. Returns it as it is then; at once if it has one. The calling thread's network namespace.
  ///
  /// Throws ETIMEDOUT when the time is over, ENODEV when the interface goes.
  public func awaitCarrier(timeoutMilliseconds: UInt32) throws(SystemError) -> NetworkInterface {
    let monitor = try LinkMonitor()  // before the first look: no change is missed
    let deadline = SystemClock.monotonicNanoseconds() + UInt64(timeoutMilliseconds) * 1_000_000
    while true {
      let current = try NetworkInterface.indexed(index)
      if current.isUp && current.hasCarrier { return current }
      let now = SystemClock.monotonicNanoseconds()
      if now >= deadline {
        throw SystemError(
          operation: "wait for carrier", code: ETIMEDOUT, subject: name,
          remedy: current.isUp ? "is the cable in and the other end up?" : "bring \(name) up")
      }
      _ = try monitor.wait(timeoutMilliseconds: CInt(clamping: (deadline - now) / 1_000_000 + 1))
    }
  }
}

/// Watches the interfaces of the network namespace of the thread that made it (RTNLGRP_LINK).
///
/// One thread waits, any thread may stop. The kernel announces XDP programs that are attached and detached by netlink
/// (`ip link set dev … xdp`), not those of a `bpf_link`: ask the link, or list the interface, to see whether it lives.
public final class LinkMonitor: Sendable {
  private let socket: NetlinkSocket
  private let stopped: EventDescriptor

  /// From here on no news is missed.
  public init() throws(SystemError) {
    let socket = try NetlinkSocket(protocol: NETLINK_ROUTE, groups: UInt32(SLUICE_RTMGRP_LINK))
    stopped = try EventDescriptor()
    self.socket = socket
  }

  /// Blocks until there is news, the time is over (empty) or ``stop()`` was called (nil).
  public func wait(timeoutMilliseconds: CInt = -1) throws(SystemError) -> [LinkEvent]? {
    let ready = try Poll.wait(
      socket.descriptor.rawValue, stopped.descriptor.rawValue, timeoutMilliseconds: timeoutMilliseconds)
    if ready.second.hasEvent { return nil }
    if !ready.first.hasEvent { return [] }
    do throws(SystemError) {
      return NetlinkSocket.split(try socket.receive("watch interfaces", "")).compactMap { header, payload in
        guard let interface = NetworkInterface(reply: NetlinkReply(type: header.nlmsg_type, payload: payload))
        else { return nil }
        return header.nlmsg_type == UInt16(RTM_DELLINK) ? .removed(interface) : .changed(interface)
      }
    } catch {
      if error.code == ENOBUFS { return [.overrun] }
      throw error
    }
  }

  /// Ends the wait, now and for ever. Any thread.
  public func stop() { stopped.signal() }
}
