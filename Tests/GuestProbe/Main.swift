import Glibc
import LinuxSystem
import XDPPrograms
import XSK

/// Runs in the virtual machines of Tests/Guest: checks of AF_XDP on drivers and memory that a veth doesn't have. Prints one
/// line `ok …` or `FAIL …` for each; the script counts them.
@main
enum GuestProbe {
  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    do {
      switch arguments.first {
      case "exchange" where arguments.count == 4:
        try Exchange(arguments[1], arguments[2], mode: arguments[3], sharesMemory: false).run()
      case "shared" where arguments.count == 4:
        try Exchange(arguments[1], arguments[2], mode: arguments[3], sharesMemory: true).run()
      case "generic" where arguments.count == 2: try Modes.generic(arguments[1])
      case "refuses" where arguments.count == 2: try Modes.refuses(arguments[1])
      case "placement" where arguments.count == 3: try Modes.placement(arguments[1], node: Int(arguments[2]) ?? -1)
      case "worker" where arguments.count == 2: try Modes.worker(arguments[1])
      case "crowded" where arguments.count == 3: try Modes.crowded(arguments[1], node: Int(arguments[2]) ?? -1)
      case "mixed" where arguments.count == 5:
        try Mixed.run(arguments[1], arguments[2], arguments[3], arguments[4])
      default:
        print(
          "FAIL usage: exchange|shared NIC NIC zero-copy|copy, generic NIC, refuses NIC, worker NIC, placement NIC NODE, crowded NIC NODE, "
            + "mixed SENDER NIC VETH PEER")
      }
    } catch {
      print("FAIL \(arguments.joined(separator: " ")): \(error)")
    }
  }
}

/// One claim, one line.
func claim(_ words: String, _ isTrue: Bool) { print("\(isTrue ? "ok  " : "FAIL") \(words)") }

/// An interface with the program attached, leading what it passes to the socket of queue 0.
struct Port {
  let interface: NetworkInterface
  let program: InterfaceProgram

  init(_ name: String, mode: AttachOptions.Mode = .native) throws {
    let interface = try NetworkInterface.named(name)
    self.interface = interface
    program = try passEverything { generation in
      try InterfaceProgram(
        interface: name, index: interface.index, options: AttachOptions(mode: mode), pins: nil, generation: generation)
    }
    try program.setPath(.user(peer: 0))
  }

  func deliver(to socket: borrowing XDPSocket) throws {
    try program.setSocket(socket.descriptor.rawValue, queue: 0)
  }
}
