import Testing

@testable import DataPlane

@Suite("How a batch leaves")
struct TransmitChoiceTests {
  private func path(_ change: (inout TransmitChoice) -> Void) -> TransmitPath {
    var choice = TransmitChoice(packetCount: 256, byteCountMax: 1514, liveByteCountMax: 3000)
    change(&choice)
    return choice.path
  }

  @Test("Live frames where all is well, from sixteen packets on and up to their longest")
  func live() {
    #expect(path { _ in } == .live)
    #expect(path { $0.packetCount = 16 } == .live)
    #expect(path { $0.packetCount = 15 } == .socket(.fewPackets))
    #expect(path { $0.packetCount = 0 } == .socket(.fewPackets))
    #expect(path { $0.byteCountMax = 3000 } == .live)
    #expect(path { $0.byteCountMax = 3001 } == .socket(.longPacket))
  }

  @Test("AF_XDP for each reason alone, and the reason that lasts longest is the one that is told")
  func socket() {
    #expect(path { $0.isZeroCopy = true } == .socket(.zeroCopy))
    #expect(path { $0.isLiveOpen = false } == .socket(.liveOff))
    #expect(path { $0.isDeviceAble = false } == .socket(.deviceUnable))
    #expect(path { $0.hasSeveralFrames = true } == .socket(.severalFrames))
    #expect(path { $0.isDrained = false } == .socket(.notDrained))
    #expect(path { $0 = TransmitChoice(packetCount: 1, isLiveOpen: false, isDeviceAble: false, liveByteCountMax: 0) }
      == .socket(.liveOff))
  }
}
