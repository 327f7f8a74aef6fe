import LinuxSystem
import XDPPrograms

/// An XDP program that leads all packets of an interface to one place: a bare one, as other engines attach it, or
/// Sluice's, which looks each packet up in its rules first. Attached while the value lives.
enum LeadingProgram {
  case bare(BareProgram)
  case receiving(ReceiverProgram.Attachment)
  case classifying(InterfaceProgram)

  /// To the AF_XDP socket of queue 0.
  ///
  /// - Parameter receiver: Receives for the socket.
  static func toSocket(
    _ descriptor: CInt, _ receiver: ReceiverProgram?, from interface: NetworkInterface, classifies: Bool
  ) throws -> LeadingProgram {
    if classifies {
      let program = try OwnProgram.attach(to: interface)
      try program.setSocket(descriptor, receiver: receiver, queue: 0)
      try program.setPath(.user(peer: 0))
      return .classifying(program)
    }
    if let receiver { return .receiving(try receiver.attach(interfaceIndex: interface.index)) }
    let program = try BareProgram(interfaceIndex: interface.index, purpose: .socket)
    try program.setSocket(descriptor, queue: 0)
    return .bare(program)
  }

  /// The same for captures: in Sluice's program a rule says so, of every packet.
  static func toCapture(
    _ descriptor: CInt, _ receiver: ReceiverProgram?, from interface: NetworkInterface, classifies: Bool
  ) throws -> LeadingProgram {
    guard classifies else { return try toSocket(descriptor, receiver, from: interface, classifies: false) }
    let program = try OwnProgram.attach(to: interface, rules: OwnProgram.captureAll)
    try program.setSocket(descriptor, receiver: receiver, queue: 0)
    return .classifying(program)
  }

  /// Out of `target`, in the kernel.
  static func forward(
    from interface: NetworkInterface, to target: NetworkInterface, classifies: Bool
  ) throws -> LeadingProgram {
    if classifies {
      let program = try OwnProgram.attach(to: interface)
      try program.setPath(.forward(peer: target.index))
      return .classifying(program)
    }
    return .bare(try BareProgram(interfaceIndex: interface.index, purpose: .forward(to: target.index)))
  }
}
