import CSluiceABI

/// Where the packets of an interface go that its rules pass: those of rules, of the default action, malformed ones, and
/// captured ones that fall back to pass.
public enum PacketPath: Hashable, Sendable {
  /// To the network stack of the host.
  case stack
  /// Out of the interface with this index, in the kernel.
  case forward(peer: UInt32)
  /// To the AF_XDP socket of the queue; where there is none, as `forward`, and without a peer (0) to the stack.
  case user(peer: UInt32)

  /// The interface that packets leave by; nil for none.
  public var peer: UInt32? {
    switch self {
    case .stack, .user(peer: 0): nil
    case .forward(let peer), .user(let peer): peer
    }
  }

  init(_ value: sluice_path) {
    switch value.kind {
    case SLUICE_PATH_FORWARD.rawValue: self = .forward(peer: value.peer_ifindex)
    case SLUICE_PATH_USER.rawValue: self = .user(peer: value.peer_ifindex)
    default: self = .stack
    }
  }

  var value: sluice_path {
    let kind =
      switch self {
      case .stack: SLUICE_PATH_STACK
      case .forward: SLUICE_PATH_FORWARD
      case .user: SLUICE_PATH_USER
      }
    return sluice_path(kind: kind.rawValue, peer_ifindex: peer ?? 0)
  }
}

extension ProgramMaps {
  func currentPath() throws(ProgramError) -> PacketPath { PacketPath(try path.value(UInt32(0), as: sluice_path.self)) }

  /// Stores a path whose peer is in `devices` already. Packets between see the old one or the new.
  func store(_ next: PacketPath) throws(ProgramError) {
    let (old, new) = (try currentPath().value, next.value)
    // The kernel copies the value while packets read it, and promises nothing about its halves: one of them changes at
    // a time, and no packet sees a path that needs a peer without one.
    let between =
      new.peer_ifindex == 0
      ? sluice_path(kind: new.kind, peer_ifindex: old.peer_ifindex)
      : sluice_path(kind: old.kind, peer_ifindex: new.peer_ifindex)
    try path.update(UInt32(0), to: between)
    try path.update(UInt32(0), to: new)
  }
}
