import CLinuxShims
import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

/// A wire between `near` and `other`. What is sent into `far`, near's veth peer, is expected at `beyond`, other's, and the
/// other way round. With one side: a reflector at `near`.
struct WireBench: ~Copyable {
  let worker: WireWorker
  private let nearProgram: RedirectProgram
  private let otherProgram: RedirectProgram
  private let isReflector: Bool

  /// Adds `other`, `beyond` and, as a mirror, `copies` with its peer `watch` to the test network.
  static func addInterfaces(mtu: Int = 1500) throws {
    try Shell.run(
      """
      ip link add other type veth peer name beyond; ip link add copies type veth peer name watch
      for name in other beyond copies watch; do ip link set $name mtu \(mtu) up; done
      ip link set near mtu \(mtu); ip link set far mtu \(mtu)
      """)
  }

  init(
    sides: Int = 2, withMetadata: Bool = false, byProgram: Bool = false, _ change: (inout WireConfiguration) throws -> Void = { _ in }
  ) throws {
    let near = try NetworkInterface.named("near")
    let other = try NetworkInterface.named("other")
    var configuration = WireConfiguration(
      sides: sides == 1 ? [near] : [near, other], batchLimit: 64, ringEntryCount: 256, transmitEntryCount: 128,
      wantsHugePages: false)
    configuration.hasReceivers = byProgram
    try change(&configuration)
    let nearProgram = try RedirectProgram(interface: near, withMetadata: withMetadata, takesFragments: byProgram)
    let otherProgram = try RedirectProgram(interface: other, withMetadata: withMetadata, takesFragments: byProgram)
    let worker = try WireWorker.start(configuration)
    for side in 0..<sides {
      let receiver = worker.receiver(side: side)
      try #require((receiver != nil) == byProgram)
      let socket = worker.socketDescriptor(side: side)
      if side == 0 {
        try nearProgram.insert(queue: 0, socket: socket, receiver: receiver?.programDescriptor)
      } else {
        try otherProgram.insert(queue: 0, socket: socket, receiver: receiver?.programDescriptor)
      }
    }
    self.nearProgram = nearProgram
    self.otherProgram = otherProgram
    self.worker = worker
    isReflector = sides == 1
  }

  /// Packets come to the sockets no more, and everything that did has left.
  func stop() {
    nearProgram.remove(queue: 0)
    if !isReflector { otherProgram.remove(queue: 0) }
    worker.stop()
  }
}

/// What `body` returns on a thread of its own, for which, and for those that it starts, /dev/net/tun makes no devices.
func withoutTapDevices<Value: Sendable>(_ body: @escaping @Sendable () -> Value) throws -> Value {
  let done = Handoff<Value?>()
  let thread = try PinnedThread.spawn(name: "without-taps") {
    // Declared for _GNU_SOURCE only; int unshare(int).
    let unshare = unsafeBitCast(dlsym(nil, "unshare"), to: (@convention(c) (CInt) -> CInt).self)
    let isHidden =
      unshare(0x0002_0000) == 0  // CLONE_NEWNS
      && mount("none", "/", nil, UInt(MS_REC | MS_PRIVATE), nil) == 0
      && mount("/dev/null", "/dev/net/tun", nil, UInt(MS_BIND), nil) == 0
    done.put(isHidden ? body() : nil)
  }
  thread.join()
  guard let value = done.take() else { throw TestFailure("/dev/net/tun stays what it is") }
  return value
}

/// Sends and receives raw frames at an interface: those of ethertype 0x88b5 that come in.
final class FrameEnd {
  private let socket: OwnedDescriptor
  private var sender: FrameSender
  let name: String

  init(_ name: String) throws {
    self.name = name
    let interface = try NetworkInterface.named(name)
    sender = try FrameSender(interface: interface)
    let descriptor = try OwnedDescriptor.socket(family: AF_PACKET, type: CInt(SOCK_RAW.rawValue))
    var size: CInt = 64 << 20
    setsockopt(descriptor.rawValue, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4)
    var ignore: CInt = 1
    setsockopt(descriptor.rawValue, SOL_PACKET, 23, &ignore, 4)  // PACKET_IGNORE_OUTGOING
    var address = sockaddr_ll()
    address.sll_family = UInt16(AF_PACKET)
    address.sll_protocol = UInt16(0x88b5).bigEndian
    address.sll_ifindex = CInt(interface.index)
    let raw = descriptor.rawValue
    try check("bind", name) {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(raw, $0, socklen_t(MemoryLayout<sockaddr_ll>.size))
        }
      }
    }
    socket = descriptor
  }

  func send(_ frame: [UInt8]) throws { try sender.send(frame) }

  /// The frames that came and were not taken yet.
  func take() -> [[UInt8]] {
    var frames: [[UInt8]] = []
    var buffer = [UInt8](repeating: 0, count: 16384)
    while true {
      let count = recv(socket.rawValue, &buffer, buffer.count, CInt(MSG_DONTWAIT))
      if count <= 0 { return frames }
      frames.append(Array(buffer[..<count]))
    }
  }

  /// Waits for so many, and reports what is there then.
  func wait(for count: Int) -> [[UInt8]] {
    var frames: [[UInt8]] = []
    _ = eventually(seconds: 3) {
      frames += take()
      return frames.count >= count
    }
    return frames
  }
}

extension WireSideCounters {
  /// Every received packet has its fate.
  var isAccountedFor: Bool { receivedPackets == forwarded + captured + dropped }
}

extension WireCounters {
  var areFramesConserved: Bool { framesPool + framesFill + framesInFlight + framesTransmit == framesTotal }
}
