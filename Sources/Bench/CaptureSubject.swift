import DataPlane
import LinuxSystem
import XDPPrograms

extension Subject {
  /// Captures every packet of queue 0 into a file, as a capture of the daemon does.
  ///
  /// 128 MiB in all: half for the packet thread, half between it and the writer.
  public static func capture(_ interface: String, path: String, cpu: Int) throws {
    StopFlag.install()
    let interface = try NetworkInterface.named(interface)
    let worker = try QueueWorker.start(
      QueueConfiguration(interface: interface, queue: 0, cpu: cpu, frameCount: 32768, wait: .adaptive))
    let program = try OwnProgram.attach(to: interface, rules: OwnProgram.captureAll)
    let session = try CaptureSession.start(
      CaptureRequest(path: path, ringByteCount: 64 << 20), interface: interface.name, workers: [worker],
      slotName: { _ in nil }, onFinish: { _ in })
    try program.setSocket(worker.socketDescriptor, queue: 0)
    tell(readyText)
    StopFlag.wait()
    worker.settle()
    let summary = session.stop()
    tell(Account(packets: summary.received, dropped: summary.dropped).line)
  }
}
