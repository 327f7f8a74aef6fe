import CLinuxShims
import Glibc

/// What drivers and sysfs know about an interface beyond rtnetlink.
extension NetworkInterface {
  /// Name of the driver (ETHTOOL_GDRVINFO): `ixgbe`, `veth`; nil where the interface has no such answer (loopback).
  public func driver() throws(SystemError) -> String? {
    let socket = try OwnedDescriptor.socket(family: AF_INET, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    var text = [CChar](repeating: 0, count: 32)
    do throws(SystemError) {
      try check("read driver of", name) {
        text.withUnsafeMutableBufferPointer { sluice_ethtool_driver(raw, name, $0.baseAddress, $0.count) }
      }
    } catch {
      if error.code == EOPNOTSUPP { return nil }
      throw error
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Receive queues in use: channels with receive rings (ETHTOOL_GCHANNELS), or those allocated where the driver
  /// doesn't say. At least 1.
  public func receiveQueueCount() throws(SystemError) -> UInt32 { try queueCounts().receive }

  /// Transmit queues in use, likewise.
  public func transmitQueueCount() throws(SystemError) -> UInt32 { try queueCounts().transmit }

  /// Both, asked for once.
  public func queueCounts() throws(SystemError) -> (receive: UInt32, transmit: UInt32) {
    let socket = try OwnedDescriptor.socket(family: AF_INET, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    var (receive, transmit) = (0 as UInt32, 0 as UInt32)
    do throws(SystemError) {
      try check("read channels of", name) { sluice_ethtool_channels(raw, name, &receive, &transmit) }
    } catch {
      if error.code != EOPNOTSUPP { throw error }
    }
    return (receive > 0 ? receive : max(rxQueueCount, 1), transmit > 0 ? transmit : max(txQueueCount, 1))
  }

  /// The NUMA node its device is attached to; -1 where there is no device or the machine has one node.
  public func numaNode() -> Int {
    // A virtio device has none itself; the PCI device that it is on has.
    for path in ["device/numa_node", "device/../numa_node"] {
      if let text = try? SmallFile.readText("/sys/class/net/\(name)/\(path)"), let node = Int(text) { return node }
    }
    return -1
  }

  /// The driver's own statistics (`ethtool -S`); empty where it keeps none.
  public func driverStatistics() throws(SystemError) -> [(name: String, value: UInt64)] {
    let socket = try OwnedDescriptor.socket(family: AF_INET, type: CInt(SOCK_DGRAM.rawValue))
    let raw = socket.rawValue
    var count: UInt32 = 0
    do throws(SystemError) {
      try check("count statistics of", name) { sluice_ethtool_statistic_count(raw, name, &count) }
    } catch {
      if error.code == EOPNOTSUPP { return [] }
      throw error
    }
    if count == 0 { return [] }
    var names = [CChar](repeating: 0, count: 32 * Int(count))
    var values = [UInt64](repeating: 0, count: Int(count))
    try check("read statistics of", name) { sluice_ethtool_statistics(raw, name, count, &names, &values) }
    return values.enumerated().map { index, value in
      let text = names[(32 * index)..<(32 * (index + 1))].prefix { $0 != 0 }
      return (String(decoding: text.map { UInt8(bitPattern: $0) }, as: UTF8.self), value)
    }
  }

  /// XDP frames that were redirected to the interface and dropped there since it exists: on a veth those that its peer's
  /// ring had no room for. The sum of the driver's `tx_…_xdp_xmit_errors` and `tx_…_xdp_…drops`; 0 where it counts none.
  public func redirectedFrameDrops() throws(SystemError) -> UInt64 {
    try driverStatistics().reduce(0) { sum, statistic in
      let isDrop = statistic.name.hasSuffix("xdp_xmit_errors") || statistic.name.hasSuffix("drops")
      let isTransmit = statistic.name.hasPrefix("tx_") && statistic.name.contains("xdp")
      return isDrop && isTransmit ? sum &+ statistic.value : sum
    }
  }
}
