import CSluiceABI
import LinuxSystem
import XDPPrograms
import XSK

/// Whether XDP programs receive in the kernel's place, where packets would be copied anyway.
enum ProgramReception {
  struct Choice {
    /// Why packets are copied; nil: they may be not, which the sockets find out.
    let copyReason: String?
    /// Why no program copies them; nil: one can.
    let refusal: String?

    var isPossible: Bool { copyReason != nil && refusal == nil }
  }

  /// - Parameters:
  ///   - interfaces: Whose sockets share a memory, those that only send included: zero-copy has all of them or none.
  ///   - receiving: Those of them that packets are received on.
  static func choose(
    _ interfaces: [NetworkInterface], receiving: [NetworkInterface], zeroCopy: XDPSocket.ZeroCopyMode
  ) -> Choice {
    switch zeroCopy {
    case .required: return Choice(copyReason: nil, refusal: nil)
    case .off: return Choice(copyReason: "zero-copy is off", refusal: refusal(of: receiving))
    case .auto:
      for interface in interfaces {
        // A kernel that tells no features has no memory for the program either.
        guard let features = (try? interface.xdpFeatures()) ?? nil, !features.contains(.zeroCopy) else { continue }
        let driver = (try? interface.driver()) ?? interface.kind
        let name = driver.isEmpty ? "of \(interface.name)" : driver
        let reason = interfaces.count == 1 ? "" : ", and a wire needs it of all its devices"
        return Choice(copyReason: "driver \(name) has no zero-copy\(reason)", refusal: refusal(of: receiving))
      }
      return Choice(copyReason: nil, refusal: nil)
    }
  }

  private static func refusal(of interfaces: [NetworkInterface]) -> String? {
    for interface in interfaces {
      if let reason = ReceiverProgram.refusal(of: interface) { return "\(interface.name): \(reason)" }
    }
    return nil
  }
}

extension ReceiverProgram {
  /// One for sockets on a memory of that geometry, which it makes.
  public convenience init(_ geometry: UMEM.Geometry, entryCount: UInt32, takesFragments: Bool) throws(ProgramError) {
    try self.init(Shape(geometry, entryCount: entryCount, takesFragments: takesFragments))
  }

  /// The same on the memory of live frames.
  convenience init(
    _ geometry: UMEM.Geometry, entryCount: UInt32, takesFragments: Bool, sharing live: borrowing LiveTransmitter
  ) throws(ProgramError) {
    try self.init(Shape(geometry, entryCount: entryCount, takesFragments: takesFragments), sharing: live)
  }

  /// Its rings, for one socket.
  public func makeRings() throws(ProgramError) -> ProgramRings {
    typealias Header = sluice_receiver_rings
    let fill = MemoryLayout<Header>.size
    let layout = ProgramRings.Layout(
      fillProducer: MemoryLayout<Header>.offset(of: \.fill_producer)!,
      fillConsumer: MemoryLayout<Header>.offset(of: \.fill_consumer)!, fillFlags: MemoryLayout<Header>.offset(of: \.flags)!,
      fill: fill, receiveProducer: MemoryLayout<Header>.offset(of: \.receive_producer)!,
      receiveConsumer: MemoryLayout<Header>.offset(of: \.receive_consumer)!,
      receive: fill + Int(shape.entryCount) * MemoryLayout<UInt64>.stride,
      isAsleep: MemoryLayout<Header>.offset(of: \.is_asleep)!, noFrame: MemoryLayout<Header>.offset(of: \.no_frame)!,
      ringFull: MemoryLayout<Header>.offset(of: \.ring_full)!, tooLong: MemoryLayout<Header>.offset(of: \.too_long)!)
    let region = try mapRings()
    let wakeups = try wakeupBuffer()
    do throws(SystemError) {
      return try ProgramRings(over: region, layout, entryCount: shape.entryCount, wakeups: wakeups)
    } catch { throw .system(error) }
  }
}

extension ReceiverProgram.Shape {
  /// Of frames in a memory of that geometry.
  public init(_ geometry: UMEM.Geometry, entryCount: UInt32, takesFragments: Bool) {
    self.init(
      frameCount: geometry.frameCount, frameByteCount: geometry.frameByteCount,
      packetOffset: UMEM.Geometry.kernelHeadroomByteCount + geometry.headroomByteCount, entryCount: entryCount,
      takesFragments: takesFragments)
  }
}
