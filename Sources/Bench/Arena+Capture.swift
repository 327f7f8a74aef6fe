import Foundation
import LinuxSystem

extension Arena {
  /// A search asks a dozen times: each question is short.
  private static let searchSeconds = 2.0
  private static let confirmationsMax = 12
  private static let confirmationStep = 0.96
  /// Of a file for each packet, at most.
  private static let recordOverhead = 40

  /// Searches the highest rate of which all packets are in the file, in short trials, and then one that lasts as long as
  /// asked.
  ///
  /// - Parameter guess: The last round's result.
  func capture(_ name: String, guess: Double?, progress: (String) -> Void) throws -> Sample {
    var search = CaptureSearch(captureRates, guess: guess)
    while let rate = search.next {
      let trial = try captureTrial(name, packetsPerSecond: rate, seconds: min(seconds, Arena.searchSeconds))
      progress("\(name): \(Int(trial.offered)) packets/s, \(trial.lost) lost")
      search.record(offered: trial.offered, lost: trial.lost)
    }
    guard search.best > 0 else {
      throw BenchError("\(name) lost packets at every rate from \(Int(captureRates.lowerBound)) packets/s on")
    }
    if seconds <= Arena.searchSeconds { return Sample(["rate": search.best]) }
    return Sample(["rate": try confirm(name, search.best, progress: progress)])
  }

  private var captureRates: ClosedRange<Double> { work == .captureLarge ? 50e3...2e6 : 200e3...8e6 }

  /// Of the largest file that a search may write.
  var captureByteCountMax: UInt64 {
    if seconds > Arena.searchSeconds { return WarmMemory.byteCountMax }
    return UInt64(captureRates.upperBound * seconds * Double(work.frameByteCount + Arena.recordOverhead))
  }

  /// What holds for two seconds need not hold for thirty: the highest rate from the searched one down that does.
  private func confirm(_ name: String, _ found: Double, progress: (String) -> Void) throws -> Double {
    var rate = found
    for _ in 0..<Arena.confirmationsMax {
      // As long as there is memory for the file.
      let longest = Double(WarmMemory.byteCountMax) / (rate * Double(work.frameByteCount + Arena.recordOverhead))
      let duration = min(seconds, longest)
      let trial = try captureTrial(name, packetsPerSecond: rate, seconds: duration)
      progress("\(name): \(Int(trial.offered)) packets/s for \(Int(duration)) s, \(trial.lost) lost")
      if trial.lost == 0 { return trial.offered }
      rate = min(rate, trial.offered) * Arena.confirmationStep
    }
    throw BenchError("\(name) lost packets at every rate down to \(Int(rate)) packets/s")
  }

  private func captureTrial(
    _ name: String, packetsPerSecond: Double, seconds: Double
  ) throws -> (offered: Double, lost: UInt64) {
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
    let load = try startLoad(cable.far, ["--rate", "\(packetsPerSecond)", "--seconds", "\(seconds)"])
    try load.wait(seconds: seconds + 10, for: "its time was over") { !load.isRunning }
    guard let sent = Subject.Account(output: load.output) else {
      throw BenchError("the load did not tell what it sent:\n\(load.lastWords)")
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
