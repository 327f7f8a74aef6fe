import DataPlane
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Wires that get no live frames", .serialized)
struct LiveRefusalTests {
  /// The report of a wire that was started and stopped, or why it could not be.
  private static func outcome(
    of configuration: WireConfiguration, _ live: WireConfiguration.LiveMode
  ) -> Result<WireReport, SystemError> {
    var configuration = configuration
    configuration.live = live
    do throws(SystemError) {
      let worker = try WireWorker.start(configuration)
      worker.stop()
      return .success(worker.report)
    } catch { return .failure(error) }
  }

  private static func configuration() throws -> WireConfiguration {
    WireConfiguration(
      sides: [try NetworkInterface.named("near"), try NetworkInterface.named("other")], batchLimit: 64,
      ringEntryCount: 256, transmitEntryCount: 128, wantsHugePages: false)
  }

  private func expect(
    _ reason: String, of outcome: (WireConfiguration.LiveMode) throws -> Result<WireReport, SystemError>
  ) throws {
    let report = try outcome(.auto).get()
    #expect(!report.isLiveOpen && report.liveReason?.contains(reason) == true, "\(report)")
    switch try outcome(.required) {
    case .success(let report): Issue.record("not refused: \(report)")
    case .failure(let error): #expect(error.remedy?.contains(reason) == true, "\(error)")
    }
  }

  @Test("Where each call would be slow a wire goes by AF_XDP and says why; one that must have live frames is refused")
  func slow() throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      let configuration = try LiveRefusalTests.configuration()
      try expect("without a tap device: make tap device") { live in
        try withoutTapDevices { LiveRefusalTests.outcome(of: configuration, live) }
      }
    }
  }

  @Test("Rings for more memory than live frames can reach: by AF_XDP with the reason, or refused")
  func large() throws {
    try withTestNetwork { _ in
      try WireBench.addInterfaces()
      var configuration = try LiveRefusalTests.configuration()
      configuration.ringEntryCount = 16_384
      configuration.frameByteCount = 4096
      let large = configuration
      try expect("65856 frames of 4096 bytes are more than 256 MiB") { live in
        LiveRefusalTests.outcome(of: large, live)
      }
    }
  }
}
