import Glibc
import LinuxSystem
import Traffic

/// Whether an interface can and may send, before anything is loaded.
enum GenerateChecks {
  /// The interface, up and free to send.
  static func interface(_ name: String, force: Bool) throws(CommandError) -> NetworkInterface {
    let interface = try find(name)
    if interface.isLoopback {
      throw .usage("\(name) is the loopback interface: it takes no frames. Use one end of a veth pair")
    }
    if !force, let carrier = try defaultRoute(over: interface) {
      let words = carrier == name ? "\(name) carries a default route" : "\(name) is under \(carrier), which carries a default route"
      throw CommandError(
        .failure, "default_route",
        "\(words): test traffic could reach other people's networks and cut you off. --force sends all the same")
    }
    try link(interface)
    try checkPrivileges()
    return interface
  }

  /// That frames can leave it.
  static func link(_ interface: NetworkInterface) throws(CommandError) {
    let name = interface.name
    guard interface.isUp else {
      throw CommandError(.failure, "interface_down", "\(name) is down: ip link set dev \(name) up")
    }
    guard interface.hasCarrier else {
      let peer = interface.kind == "veth" ? "its peer is down: ip link set dev PEER up" : "nothing is connected to it"
      throw CommandError(.failure, "no_carrier", "\(name) has no carrier: \(peer)")
    }
  }

  /// That the longest frame leaves the interface: the kernel drops longer ones without a word.
  static func size(_ plan: TrafficPlan, _ interface: NetworkInterface) throws(CommandError) {
    guard plan.mtuNeeded > Int(interface.mtu) else { return }
    throw CommandError(
      .failure, "frame_too_long",
      "frames of \(plan.frameByteCountMax) bytes are too long for \(interface.name), whose MTU is \(interface.mtu): "
        + "ip link set dev \(interface.name) mtu \(plan.mtuNeeded), and its peer too")
  }

  static func find(_ name: String) throws(CommandError) -> NetworkInterface {
    do throws(SystemError) {
      return try NetworkInterface.named(name)
    } catch {
      guard error.code == ENODEV else { throw CommandError(.failure, "interface_unreadable", error.description) }
      let names = ((try? NetworkInterface.all()) ?? []).map(\.name)
      throw CommandError(
        .notFound, "not_found",
        "there is no interface \(Terminal.safe(String(name.prefix(32)))) here; there are "
          + names.joined(separator: ", "))
    }
  }

  private static func checkPrivileges() throws(CommandError) {
    let missing = ((try? Capabilities.effective())?.missing(of: [.bpf, .netAdmin]) ?? []).map(\.name)
    if !missing.isEmpty {
      throw CommandError(
        .failure, "missing_capability", "sending needs \(missing.joined(separator: " and ")): run it as root")
    }
  }

  /// That the interface takes XDP frames now.
  static func features(_ interface: NetworkInterface) throws(CommandError) {
    // Kernels before 6.3 don't tell; then the transmit statistics will.
    guard let features = (try? interface.xdpFeatures()) ?? nil, !features.contains(.transmitRedirected) else { return }
    let remedy =
      interface.kind == "veth"
      ? "a veth does while its peer has an XDP program (sluice attach PEER) or GRO on (ethtool -K PEER gro on)"
      : "its driver\(((try? interface.driver()) ?? nil).map { " (\($0))" } ?? "") has no XDP transmit; use a veth pair"
    throw CommandError(
      .failure, "no_xdp_transmit", "\(interface.name) takes no XDP frames now, all would vanish: \(remedy)")
  }

  /// The interface with a default route that the frames of this one could take.
  private static func defaultRoute(over interface: NetworkInterface) throws(CommandError) -> String? {
    do throws(SystemError) {
      return try interface.defaultRouteCarrier()?.name
    } catch {
      throw CommandError(.failure, "routes_unreadable", error.description)
    }
  }
}
