import CXDP
import Glibc
import LinuxSystem

/// An XDP program that does one thing with every packet and decides nothing: the least that an engine needs, and what
/// others' programs attach where they are measured. Attached natively from creation to the end of the value; not for
/// sharing between threads.
///
/// A handful of instructions: they are put together here, without an object file.
public final class BareProgram {
  public enum Purpose: Hashable, Sendable {
    case drop
    /// To the AF_XDP socket of the packet's queue: ``BareProgram/setSocket(_:queue:)``. Dropped where there is none.
    case socket
    /// Out of the interface with this index, in the kernel.
    case forward(to: UInt32)
  }

  private let purpose: Purpose
  private let map: BPFMap
  private let program: OwnedDescriptor
  private let link: OwnedDescriptor

  /// - Parameter interfaceIndex: Of an interface of the caller's network namespace that has no XDP program.
  public init(interfaceIndex: UInt32, purpose: Purpose) throws(ProgramError) {
    let map = try BareProgram.makeMap(purpose)
    let code = BareProgram.assemble(purpose, map: map.descriptor.rawValue)
    let program = OwnedDescriptor(
      owning: try checkBPF("load bare XDP program", "") {
        bpf_prog_load(BPF_PROG_TYPE_XDP, "sluice_bare", "GPL", code, code.count, nil)
      })
    let raw = program.rawValue
    link = OwnedDescriptor(
      owning: try checkBPF("attach bare XDP program to interface", "\(interfaceIndex)") {
        sluice_xdp_link_create(raw, CInt(interfaceIndex), UInt32(XDP_FLAGS_DRV_MODE))
      })
    self.program = program
    self.map = map
    self.purpose = purpose
  }

  /// From now on packets of the queue go to the socket. Only where that is the purpose.
  public func setSocket(_ descriptor: CInt, queue: UInt32) throws(ProgramError) {
    precondition(purpose == .socket, "a program that has sockets")
    try map.update(queue, to: descriptor)
  }

  /// One that drops does not use its map.
  private static func makeMap(_ purpose: Purpose) throws(ProgramError) -> BPFMap {
    guard case .forward(let index) = purpose else {
      return try makeMap(BPF_MAP_TYPE_XSKMAP, "sockets", entryCount: 64)
    }
    let map = try makeMap(BPF_MAP_TYPE_DEVMAP, "output", entryCount: 1)
    try map.update(UInt32(0), to: index)
    return map
  }

  private static func makeMap(
    _ type: bpf_map_type, _ name: String, entryCount: UInt32
  ) throws(ProgramError) -> BPFMap {
    BPFMap(
      owning: OwnedDescriptor(
        owning: try checkBPF("make map", name) { bpf_map_create(type, name, 4, 4, entryCount, nil) }), name: name)
  }

  private static func assemble(_ purpose: Purpose, map: CInt) -> [bpf_insn] {
    let drop: Int32 = 1  // XDP_DROP
    let exit = bpf_insn(0x95)
    if purpose == .drop { return [bpf_insn(0xb7, to: 0, drop), exit] }
    return [
      // r2 = the key: rx_queue_index of struct xdp_md, or 0.
      purpose == .socket ? bpf_insn(0x61, to: 2, from: 1, offset: 16) : bpf_insn(0xb7, to: 2, 0),
      bpf_insn(0x18, to: 1, from: 1, map), bpf_insn(0),  // r1 = the map (BPF_PSEUDO_MAP_FD), 64 bits
      bpf_insn(0xb7, to: 3, drop),  // r3: what to do where the key has no entry
      bpf_insn(0x85, 51), exit,  // r0 = bpf_redirect_map(r1, r2, r3)
    ]
  }
}

extension bpf_insn {
  /// An instruction by its opcode, Documentation/bpf/standardization/instruction-set.rst.
  init(_ code: UInt8, to: UInt8 = 0, from: UInt8 = 0, offset: Int16 = 0, _ immediate: Int32 = 0) {
    self.init()
    self.code = code
    dst_reg = to
    src_reg = from
    off = offset
    imm = immediate
  }
}
