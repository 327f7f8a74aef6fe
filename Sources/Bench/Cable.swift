import LinuxSystem

/// A pair of veth devices: the near one is the measured program's, the far one ours. Removed when the value goes.
///
/// Each measurement makes its own: no program, counter or socket that still closes is left of the one before.
final class Cable {
  let near: String
  let far: String

  init(_ number: Int, queues: Int = 1) throws(BenchError) {
    near = "near\(number)"
    far = "far\(number)"
    let options = "numtxqueues \(queues) numrxqueues \(queues)"
    try Shell.run(
      """
      ip link add \(near) \(options) type veth peer name \(far) \(options)
      for device in \(near) \(far); do
        echo 1 >/proc/sys/net/ipv6/conf/$device/disable_ipv6
        ip link set $device up
      done
      """)
  }

  deinit { _ = try? Shell.run("ip link del \(near)") }

  /// Whether all ends named have an XDP program.
  static func havePrograms(_ names: [String]) -> Bool {
    names.allSatisfy { (try? NetworkInterface.named($0))?.xdp != nil }
  }

  /// The kernel's counters of a device; a veth with an XDP program counts in `rxPackets` what the program saw.
  static func statistics(_ name: String) throws(BenchError) -> LinkStatistics {
    do { return try NetworkInterface.named(name).statistics } catch { throw BenchError(error.description) }
  }

  /// MAC address in hexadecimal with colons.
  static func mac(_ name: String) throws(BenchError) -> String {
    do { return try NetworkInterface.named(name).mac } catch { throw BenchError(error.description) }
  }
}
