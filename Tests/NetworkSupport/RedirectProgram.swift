import CXDP
import Glibc
import LinuxSystem

/// A hand-assembled XDP program that sends frames of ethertype 0x88b5 to an XSKMAP, attached while the value lives.
///
/// Where a receiver is inserted beside the socket, that takes the frames, called by a tail call.
///
/// With metadata it leaves `struct sluice_metadata` in front: the slot is the packet's byte 14.
public struct RedirectProgram: ~Copyable {
  private let map: OwnedDescriptor
  private let receivers: OwnedDescriptor
  private let program: OwnedDescriptor
  private let link: OwnedDescriptor?
  private let interfaceIndex: CInt

  /// - Parameters:
  ///   - byNetlink: As `ip link set … xdp` does it, which the kernel announces; else by a link.
  ///   - takesFragments: Packets may have several buffers (`xdp.frags`).
  public init(
    interface: NetworkInterface, withMetadata: Bool, byNetlink: Bool = false, takesFragments: Bool = false
  ) throws(SystemError) {
    let map = OwnedDescriptor(
      owning: try check("create XSKMAP") { bpf_map_create(BPF_MAP_TYPE_XSKMAP, "xsks", 4, 4, 64, nil) })
    let receivers = OwnedDescriptor(
      owning: try check("create PROG_ARRAY") { bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "receivers", 4, 4, 64, nil) })
    let instructions = RedirectProgram.assemble(
      map: map.rawValue, receivers: receivers.rawValue, withMetadata: withMetadata)
    let program = OwnedDescriptor(
      owning: try check("load XDP program") {
        var options = bpf_prog_load_opts()
        options.sz = MemoryLayout<bpf_prog_load_opts>.size
        options.prog_flags = takesFragments ? 1 << 5 : 0  // BPF_F_XDP_HAS_FRAGS
        options.expected_attach_type = BPF_XDP  // as libbpf loads receivers: the kernel wants both alike
        return bpf_prog_load(BPF_PROG_TYPE_XDP, "redirect", "GPL", instructions, instructions.count, &options)
      })
    let raw = program.rawValue
    let index = CInt(interface.index)
    if byNetlink {
      try check("attach XDP program") { bpf_xdp_attach(index, raw, 0, nil) < 0 ? CInt(-1) : 0 }
      link = nil
    } else {
      link = OwnedDescriptor(owning: try check("attach XDP program") { bpf_link_create(raw, index, BPF_XDP, nil) })
    }
    interfaceIndex = index
    self.map = map
    self.receivers = receivers
    self.program = program
  }

  deinit { if link == nil { bpf_xdp_detach(interfaceIndex, 0, nil) } }

  /// From now on packets of the queue go to the socket, or to the program that receives for it.
  public borrowing func insert(queue: UInt32, socket: CInt, receiver: CInt? = nil) throws(SystemError) {
    if let receiver { try RedirectProgram.insert(queue, receiver, into: receivers.rawValue) }
    try RedirectProgram.insert(queue, socket, into: map.rawValue)
  }

  private static func insert(_ queue: UInt32, _ descriptor: CInt, into map: CInt) throws(SystemError) {
    var key = queue
    var value = descriptor
    try check("insert into map", "queue \(queue)") { bpf_map_update_elem(map, &key, &value, 0) < 0 ? CInt(-1) : 0 }
  }

  /// Packets of the queue go nowhere any more.
  public borrowing func remove(queue: UInt32) {
    var key = queue
    _ = bpf_map_delete_elem(map.rawValue, &key)
  }

  private static func assemble(map: CInt, receivers: CInt, withMetadata: Bool) -> [bpf_insn] {
    let magic: Int32 = 0x6563_6975
    let load32: UInt8 = 0x61
    let moveImmediate: UInt8 = 0xb7
    let move: UInt8 = 0xbf
    let addImmediate: UInt8 = 0x07
    let jumpIfGreater: UInt8 = 0x2d
    var code = [
      make(move, 6, 1),  // r6 = ctx
      make(load32, 2, 6, 0), make(load32, 3, 6, 4),  // r2 = data, r3 = data_end
      make(move, 4, 2), make(addImmediate, 4, 0, 0, 15), make(jumpIfGreater, 4, 3, 2),  // shorter than 15: pass
      make(0x69, 5, 2, 12), make(0x15, 5, 0, 2, 0xb588),  // ethertype, network order
      make(moveImmediate, 0, 0, 0, 2), make(0x95, 0),  // pass
    ]
    if withMetadata {
      let body = [
        make(load32, 2, 6, 8), make(load32, 3, 6, 0), make(load32, 5, 6, 4),  // data_meta, data, data_end
        make(move, 4, 2), make(addImmediate, 4, 0, 0, 16), make(jumpIfGreater, 4, 3, 9),
        make(move, 7, 3), make(addImmediate, 7, 0, 0, 15), make(jumpIfGreater, 7, 5, 6),
        make(0x71, 8, 3, 14), make(0x63, 2, 8, 4), make(0x62, 2, 0, 0, magic),  // slot, magic
        make(move, 9, 2), make(0x85, 0, 0, 0, 5), make(0x7b, 9, 0, 8),  // bpf_ktime_get_ns
      ]
      code += [make(move, 1, 6), make(moveImmediate, 2, 0, 0, -16), make(0x85, 0, 0, 0, 54)]  // bpf_xdp_adjust_meta
      code += [make(0x55, 0, 0, Int16(body.count))] + body
    }
    code += [
      make(load32, 2, 6, 16),  // rx_queue_index
      make(0x18, 1, 1, 0, map), make(0, 0), make(moveImmediate, 3, 0, 0, 2),  // the map; pass where no socket is
      make(0x85, 0, 0, 0, 51),  // bpf_redirect_map
      make(0x15, 0, 0, 1, 4), make(0x95, 0),  // not XDP_REDIRECT
      make(move, 1, 6), make(load32, 3, 6, 16), make(0x18, 2, 1, 0, receivers), make(0, 0),
      make(0x85, 0, 0, 0, 12), make(moveImmediate, 0, 0, 0, 4), make(0x95, 0),  // bpf_tail_call, else XDP_REDIRECT
    ]
    return code
  }

  private static func make(
    _ code: UInt8, _ destination: UInt8, _ source: UInt8 = 0, _ offset: Int16 = 0, _ immediate: Int32 = 0
  ) -> bpf_insn {
    var instruction = bpf_insn()
    instruction.code = code
    instruction.dst_reg = destination
    instruction.src_reg = source
    instruction.off = offset
    instruction.imm = immediate
    return instruction
  }
}
