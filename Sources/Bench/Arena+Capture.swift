import Foundation
import LinuxSystem

extension Arena {
  /// Searches the highest rate of which all packets are in the file.
  ///
  /// - Parameter guess: The last round's result.
  func capture(_ name: String, guess: Double?, progress: (String) -> Void) throws -> Sample {
    let range: ClosedRange<Double> = work == .captureLarge ? 50e3...2e6 : 200e3...8e6
    var search = CaptureSearch(range, guess: guess)
    while let rate = search.next {
      let trial = try captureTrial(name, packetsPerSecond: rate)
      progress("\(name): \(Int(trial.offered)) packets/s, \(trial.lost) lost")
      search.record(offered: trial.offered, lost: trial.lost)
    }
    return Sample(["rate": search.best])
  }

  private func captureTrial(_ name: String, packetsPerSecond: Double) throws -> (offered: Double, lost: UInt64) {
    let cable = try Cable(0)
    defer { withExtendedLifetime(cable) {} }
    // A veth takes live frames while its peer has an XDP program or GRO; for the programs that read from the stack.
    try Shell.run(
      "ethtool -K \(cable.near) gro on; ip link set \(cable.near) mtu 1600; ip link set \(cable.far) mtu 1600")
    guard let contestant = work.contestants(farMAC: "").first(where: { $0.name == name }),
      let path = contestant.capturePath
    else { throw BenchError("\(work.rawValue) has no \(name)") }
    defer { try? FileManager.default.removeItem(atPath: path) }
    let child = try start(contestant)
    let load = try startLoad(cable.far, ["--rate", "\(packetsPerSecond)", "--seconds", "\(seconds)", "--batch", "1024"])
    guard load.waitUntilEnded(seconds: seconds + 10), let sent = Subject.Account(output: load.output) else {
      throw BenchError("the load did not end:\n\(load.lastWords)")
    }
    try waitUntilWritten(path, by: child)
    child.stop(SIGINT)
    guard let captured = CaptureFileCount.packets(ofFile: path) else {
      throw BenchError("\(path) of \(name) is no whole capture file:\n\(child.lastWords)")
    }
    guard captured <= sent.packets else { throw BenchError("\(name) captured \(captured) of \(sent.packets) packets") }
    return (Double(sent.packets) / Double(sent.nanoseconds) * 1e9, sent.packets - captured)
  }

  /// What a program still holds comes late: libpcap hands over a block that is not full after a second.
  private func waitUntilWritten(_ path: String, by child: Child) throws(BenchError) {
    var (size, since) = (UInt64(0), SystemClock.monotonicNanoseconds())
    try child.wait(seconds: 60, for: "its file was complete") {
      let attributes = try? FileManager.default.attributesOfItem(atPath: path)
      let now = (attributes?[.size] as? UInt64) ?? 0
      if now != size { (size, since) = (now, SystemClock.monotonicNanoseconds()) }
      return SystemClock.monotonicNanoseconds() - since > 1_300_000_000
    }
  }
}
